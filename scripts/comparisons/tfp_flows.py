"""TensorFlow Probability's own flows as invertible layers, to be trained and measured as ours are.

Their bijectors map latents to data; the layers here map data to latents, the bijectors' inverse.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.layers.actnorm import ActNorm
from tf_iresnet.layers.invertible import InvertibleLayer, Mapped
from tf_iresnet.layers.reshaping import Reshape
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.training import build
from tf_iresnet.training.options import TrainingOptions


class TfpFlow(InvertibleLayer):
    """A chain of TFP bijectors for vectors, with a permutation after each but the last.

    A subclass gives `bijector(index)`, a part of the chain that a permutation can follow, and
    `permutation(index)`. The networks' weights are weights of this layer, so that Keras trains,
    averages and saves them; TFP only computes with them.

    Args:
        num_layers: bijectors with a network.
        hidden_units: widths of the hidden layers of each network, with ReLU between them.
        seed: of weights and permutations.

    Input and output shape: `[batch, size]`.
    """

    def __init__(
        self, num_layers: int, hidden_units: Sequence[int], seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_layers = num_layers
        self.hidden_units = tuple(hidden_units)
        self.seed = seed
        self.masked = 0  # entries of the kernels that a mask keeps out

    def bijector(self, index: int) -> Any:
        """The TFP bijector number `index`, latents → data."""
        raise TypeError(f"{type(self).__name__} must define bijector()")

    def permutation(self, index: int) -> np.ndarray:
        """The order of the entries after it."""
        raise TypeError(f"{type(self).__name__} must define permutation()")

    def build(self, input_shape):
        import tensorflow_probability as tfp

        super().build(input_shape)
        if len(self.event_shape) != 1:
            raise ValueError(
                f"Expected vectors, [batch, size]. Received: shape={tuple(input_shape)}. Flatten "
                "them with tf_iresnet.layers.Reshape([-1]) first."
            )
        self.size = self.event_shape[0]
        # As data come in: the chain's inverse goes through its bijectors from the first one on.
        chain = []
        for index in range(self.num_layers):
            chain.append(self.bijector(index))
            if index < self.num_layers - 1:
                chain.append(tfp.bijectors.Permute(self.permutation(index)))
        self.chain = tfp.bijectors.Chain(chain)

    # TFP's networks read the weights themselves, so nothing is bound: not to be repeated.

    def push(self, bound, x, how=None):
        value = self.chain.inverse(x)
        if how is None:
            return Mapped(value)
        log_det = self.chain.inverse_log_det_jacobian(x, event_ndims=1)
        return Mapped(value, log_det, tf.zeros_like(log_det))

    def pull(self, bound, y, how=None):
        value = self.chain.forward(y)
        if how is None:
            return Mapped(value)
        log_det = self.chain.forward_log_det_jacobian(y, event_ndims=1)
        return Mapped(value, log_det, tf.zeros_like(log_det))

    def _dense(
        self, index: int, layer: int, inputs: int, units: int
    ) -> tuple[keras.Variable, keras.Variable]:
        """Kernel and bias of a layer of the network number `index`; the last ones start at 0."""
        last = layer == len(self.hidden_units)
        seed = np.random.SeedSequence([self.seed, index, layer]).generate_state(1)[0]
        start = "zeros" if last else keras.initializers.HeUniform(seed=int(seed // 2))
        name = f"{index}_{layer}"
        return (
            self.add_weight(name=f"kernel_{name}", shape=(inputs, units), initializer=start),
            self.add_weight(name=f"bias_{name}", shape=(units,), initializer="zeros"),
        )


class RealNVP(TfpFlow):
    """`tfb.RealNVP` couplings (Dinh et al., arXiv 1605.08803), permuted at random in between.

    Each scales and shifts one half of the entries by a perceptron of the other half, affinely, as
    `tfb.real_nvp_default_template` does, whose variables Keras doesn't see.
    """

    def bijector(self, index):
        import tensorflow_probability as tfp

        half = self.size // 2
        widths = [half, *self.hidden_units, 2 * (self.size - half)]
        weights = [
            self._dense(index, k, *shape) for k, shape in enumerate(itertools.pairwise(widths))
        ]

        def shift_and_log_scale(x: tf.Tensor, _: int) -> list[tf.Tensor]:
            for k, (kernel, bias) in enumerate(weights):
                x = tf.linalg.matmul(tf.nn.relu(x) if k else x, kernel.value) + bias.value
            return tf.split(x, 2, axis=-1)

        return tfp.bijectors.RealNVP(num_masked=half, shift_and_log_scale_fn=shift_and_log_scale)

    def permutation(self, index):
        return np.random.default_rng([self.seed, index]).permutation(self.size)


class MAF(TfpFlow):
    """`tfb.MaskedAutoregressiveFlow`s (Papamakarios et al., arXiv 1705.07057), reversed in between.

    Their networks are `tfb.AutoregressiveNetwork`s. TFP multiplies kernels by their masks after
    each step of a `tf_keras` optimizer only; weights moved or averaged by anything else would leave
    the mask, and the densities of a network that isn't autoregressive any more don't sum to 1. Here
    a network sees its kernels only through their masks.
    """

    def bijector(self, index):
        import tensorflow_probability as tfp

        network = tfp.bijectors.AutoregressiveNetwork(
            params=2,
            event_shape=[self.size],
            hidden_units=list(self.hidden_units),
            activation="relu",
        )
        network.build([None, self.size])
        dense = [layer for layer in network._network.layers if hasattr(layer, "kernel")]
        for k, layer in enumerate(dense):
            mask = layer.kernel_constraint(tf.ones_like(layer.kernel))
            self.masked += int(np.sum(mask.numpy() == 0))
            kernel, bias = self._dense(index, k, *layer.kernel.shape)
            layer.bias = bias._value
            layer.kernel = tfp.util.DeferredTensor(kernel._value, mask.__mul__)
        return tfp.bijectors.MaskedAutoregressiveFlow(network)

    def permutation(self, index):
        return np.arange(self.size)[::-1]


LAYERS = {"real_nvp": RealNVP, "maf": MAF}


def make_flow(
    settings: Mapping[str, Any], dataset: data.Dataset, options: TrainingOptions
) -> ResidualFlow:
    """A compiled flow of flattened examples, trained by what trains ours.

    Args:
        settings: `layer`, a name in `LAYERS`, its `arguments`, and the `preprocessing` before it.
        dataset: of the examples.
        options: of the training.
    """
    layer = LAYERS[settings["layer"]](seed=options.seed, **settings["arguments"])
    before = build.make_preprocessing(settings["preprocessing"], dataset)
    flow = ResidualFlow([*before, Reshape([-1]), ActNorm(), layer], seed=options.seed)
    flow.build((None, *dataset.event_shape))
    flow.compile(build.make_optimizer(options, flow), jit_compile=options.jit_compile)
    return flow


def parameters(flow: ResidualFlow) -> int:
    """Returns how many parameters are free: entries that are trained and that no mask keeps out."""
    masked = sum(layer.masked for layer in flow._flatten_layers() if isinstance(layer, TfpFlow))
    return sum(int(np.prod(w.shape)) for w in flow.trainable_weights) - masked
