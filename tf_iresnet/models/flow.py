"""A normalising flow as a Keras model."""

import math
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tf_iresnet.layers.invertible import Estimation, InvertibleLayer
from tf_iresnet.layers.residual import BranchBlock
from tf_iresnet.layers.serialization import register
from tf_iresnet.models import base as bases
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.models.monte_carlo import LogProb, mean_of_draws
from tf_iresnet.numerics.probes import Seed, as_seed, fold_in


@register
class ResidualFlow(InvertibleModel):
    """The density of `x` whose latents `F(x)` follow a base distribution.

    `ln p(x) = ln p_base(F(x)) + ln|det ∂F/∂x|`, with `F: data → latent` (i-ResNet,
    arXiv 1811.00995, eq. 1 and 2). `fit` maximises it: the loss is the mean negative log-density in
    nats, weighted by `sample_weight`; targets `y` are taken as the condition. Called on data, the
    model returns log-densities, so `predict` does too.

    Args:
        layer: the invertible network `F`, or a list of invertible layers.
        base: "normal", "learned_normal", or a layer like `tf_iresnet.models.base.DiagonalNormal`.
        seed: of the training noise, and of samples drawn without a `seed` of their own.

    Input shape: `[batch, *event]`. Output shape: `[batch]`.

    Example:

        flow = tf_iresnet.mlp_flow(2)
        flow.compile(optimizer=keras.optimizers.Adam(1e-3))
        flow.fit(x, epochs=10)
        flow.sample(100)
    """

    metric_names: ClassVar[tuple[str, ...]] = ("loss", "bits_per_dim")

    def __init__(
        self,
        layer: InvertibleLayer | list[InvertibleLayer],
        base: str | bases.Base = "normal",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, seed, **kwargs)
        self.base = bases.get(base, self.layer.dtype_policy)
        self._sampling_seeds = keras.random.SeedGenerator(seed)

    def build(self, input_shape):
        super().build(input_shape)
        if not self.base.built:
            self.base.build(self.layer.compute_output_shape(input_shape))

    def call(self, inputs, condition=None, training=None, seed=None):
        self._check_condition(condition)
        return self._log_density_and_bound(inputs, condition, training, seed)[0]

    def _log_density_and_bound(self, inputs, condition, training, seed, proven=0.0):
        how = Estimation(as_seed(seed), bool(training), proven)
        z, log_det, truncation, _ = self.layer.forward(inputs, condition, training, how)
        return self.base.log_prob(z) + log_det, truncation

    def _values(self, x, y, training, seed=None):
        log_prob = self(x, condition=y, training=training, seed=seed)
        return {"loss": -log_prob, "bits_per_dim": self._bits_per_dim(log_prob)}

    def _bits_per_dim(self, log_prob: tf.Tensor) -> tf.Tensor:
        return -log_prob / (self.event_size * math.log(2))

    def log_prob(self, x: Any, condition: Any = None, seed: Seed = None) -> tf.Tensor:
        """Log-density of `x` `[batch, *event]`, in nats `[batch]`. `seed` is for estimators."""
        function = self._function("log_prob", self._log_density_and_bound)
        return function(*self._tensors(x, condition), False, as_seed(seed))[0]

    def log_prob_with_error(
        self,
        x: Any,
        condition: Any = None,
        seed: Seed = None,
        *,
        draws: int = 8,
        standard_error: float | None = None,
        max_draws: int = 1000,
        lipschitz: float = 0.0,
    ) -> LogProb:
        """Log-density of `x`, the mean of several draws of the estimators, with its errors.

        In eager mode. A flow whose log-determinants are all exact is evaluated once.

        Args:
            x, condition: `[batch, *event]`; `[batch, size]`, or None.
            seed: of the first draw; the others' follow from it.
            draws: of each example, at least 2.
            standard_error: in nats; an example that hasn't reached it by then is drawn again.
            max_draws: at which an example is given up, with a warning.
            lipschitz: a proven bound on the branch of every block, the largest `lipschitz` of
                `certify(flow).blocks`: it proves the truncation bound, which without it relies on
                every layer keeping to its coefficient.
        """
        if draws < 2 or max_draws < draws:
            expected = "draws ≥ 2, to know an error, and max_draws ≥ draws"
            raise ValueError(f"Expected {expected}. Received: {draws=}, {max_draws=}")
        x, condition = self._tensors(x, condition)
        function = self._function("log_prob", self._log_density_and_bound)
        proven = tf.constant(lipschitz, self.layer.working_dtype)

        def draw(index: int, x: Any, condition: Any) -> tuple[tf.Tensor, tf.Tensor]:
            return function(x, condition, False, fold_in(as_seed(seed), index), proven)

        estimators = (
            block.log_det.resolve(math.prod(block.event_shape or ()), False)
            for block in self._flatten_layers()
            if isinstance(block, BranchBlock)
        )
        if not any(estimator.is_random for estimator in estimators):
            draws = max_draws = 1
        return mean_of_draws(draw, x, condition, draws, standard_error, max_draws)

    def sample(
        self, num: int, condition: Any = None, seed: Seed = None, temperature: float = 1.0
    ) -> tf.Tensor:
        """Samples `[num, *event]`. Rows whose inverse wasn't certified are NaN, with a warning.

        Args:
            num: how many.
            condition: `[num, size]`, or `[size]` for all of them.
            seed: without one every call draws new samples.
            temperature: factor of the latents' distance from their mean. Below 1 samples come from
                the dense middle, likelier and less varied. Only at 1 do they follow the density.
        """
        self._check_condition(condition)
        if condition is not None:
            condition = tf.convert_to_tensor(condition, self.layer.working_dtype)
            if condition.shape.rank == 1:
                condition = tf.tile(condition[tf.newaxis], [num, 1])
        return self._decode(self._latents(num, seed, temperature), condition)

    def _latents(self, num: int, seed: Seed, temperature: float, *args: Any) -> tf.Tensor:
        if not temperature >= 0:
            raise ValueError(f"Expected temperature ≥ 0. Received: temperature={temperature}")
        if seed is None:
            seed = tf.cast(self._sampling_seeds.next(), tf.int32)
        temperature = tf.cast(temperature, self.layer.working_dtype)
        if tf.executing_eagerly():
            num = tf.constant(num)  # one trace for all
        function = self._function("base", self.base.sample)
        return function(num, as_seed(seed), temperature, *args)

    def distribution(self, condition: Any = None) -> Any:
        """The flow as a `tfd.TransformedDistribution`: a view that follows the weights."""
        import tensorflow_probability as tfp

        from tf_iresnet.bijectors import InvertibleBijector

        self._check_condition(condition)
        to_data = tfp.bijectors.Invert(InvertibleBijector(self.layer, condition=condition))
        return tfp.distributions.TransformedDistribution(self.base.distribution(), to_data)

    def get_config(self):
        return {**super().get_config(), "base": keras.saving.serialize_keras_object(self.base)}
