"""Seeds of the random numbers of a data set: one independent stream for each (seed, step, use)."""

import tensorflow as tf

from tf_iresnet.numerics.probes import as_seed, fold_in

Seed = int | tf.Tensor
Step = int | tf.Tensor

# The four uses. The offset keeps them apart from a model's own noise under the same seed and step:
# equal keys would give the data and the probes of the log-det estimator the same bits.
_DATA = 0x64617461
COMPONENT, POSITION, SHUFFLE, DEQUANTIZATION = range(_DATA, _DATA + 4)

# Seeds no int maps to (an int s is the pair [0, s]), so that no training run, whatever its seed,
# has seen the numbers that its model is validated, tested or scaled with.
VALIDATION, TEST, STATISTICS = (0x76616C, 1), (0x746573, 2), (0x737461, 3)


def key(seed: Seed | tuple[int, int], step: Step, use: int) -> tf.Tensor:
    """Returns the int32 pair [2] to give to `tf.random.stateless_*(…, alg="philox")`.

    Args:
        seed: an int or an int32 pair [2].
        step: a scalar integer, possibly symbolic: of the training step or of the epoch.
        use: one of the constants of this module.
    """
    return fold_in(fold_in(as_seed(seed), use), tf.cast(step, tf.int32))
