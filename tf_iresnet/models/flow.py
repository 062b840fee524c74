"""A normalising flow as a Keras model."""

import math
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tf_iresnet.layers.checks import as_condition, expect_events
from tf_iresnet.layers.invertible import Estimation, InvertibleLayer
from tf_iresnet.layers.residual import BranchBlock
from tf_iresnet.layers.serialization import register
from tf_iresnet.models import bases
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.models.monte_carlo import LogProb, mean_of_draws
from tf_iresnet.models.steps import Values
from tf_iresnet.numerics.probes import Seed, as_seed, fold_in
from tf_iresnet.numerics.tracing import uncached


@register
class ResidualFlow(InvertibleModel):
    """The density of `x` whose latents `F(x)` follow a base distribution.

    `ln p(x) = ln p_base(F(x)) + ln|det ∂F/∂x|`, with `F: data → latent` (i-ResNet,
    arXiv 1811.00995, eq. 1 and 2). `fit` maximises it: the loss is the mean negative log-density in
    nats, weighted by `sample_weight`; targets `y` are taken as the condition. Called on data, the
    model returns log-densities, so `predict` does too.

    Args:
        layer: the invertible network `F`, or a list of invertible layers.
        base: distribution of the latents: "normal", "learned_normal", "student_t",
            "learned_student_t", "mixture" or "uniform"; an object of `tf_iresnet.bases`, where the
            names are explained, such as `StudentT(df=3.0)`; or a `tfd.Distribution`.
        seed: of the training noise, and of samples drawn without a `seed` of their own.

    Input shape: `[batch, *event]`. Output shape: `[batch]`.

    Example:

        flow = tf_iresnet.mlp_flow(2)
        flow.compile(optimizer=keras.optimizers.Adam(1e-3))
        flow.fit(x, epochs=10)
        flow.sample(100)
    """

    metric_names: ClassVar[tuple[str, ...]] = ("loss", "bits_per_dim")
    output_choices: ClassVar[tuple[str, ...]] = ("log_prob", "latents")
    has_labels: ClassVar[bool] = False
    served: ClassVar[tuple[str, ...]] = ("log_prob", "sample", "encode", "decode")

    def __init__(
        self,
        layer: InvertibleLayer | list[InvertibleLayer],
        base: Any = "normal",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, seed, **kwargs)
        self.base = bases.get(base, self.layer)
        self._sampling_seeds = keras.random.SeedGenerator(seed)

    def build(self, input_shape):
        super().build(input_shape)
        self.base.build_for(self.layer.compute_output_shape(input_shape))

    @property
    def condition_size(self) -> int | None:
        """Size of the condition of the layers or of the base, which share it; None without."""
        size = self.layer.condition_size
        return self.base.condition_size if size is None else size

    def call(self, inputs, condition=None, training=None, seed=None):
        x, condition = self._inputs_and_targets(inputs, condition)
        return self._evaluation(x, condition, seed, bool(training))()[0]

    def _evaluation(self, x, condition, seed, training=False):
        """A call of `_evaluate`, by a trace in eager mode."""
        x, condition = self._tensors(x, condition)
        options = {"seed": as_seed(seed), "training": training}
        return self.traces.prepared("log_prob", self._evaluate, x, condition, **options)

    def _evaluate(self, x, condition, seed=None, training=False, proven=0.0):
        """Log-densities, bounds on what estimators cut off of them, and latents."""
        how = Estimation(as_seed(seed), training, proven)
        z, log_det, truncation, _ = self.layer.forward(x, self._of_layer(condition), training, how)
        return self.base.log_prob(z, *self.base.arguments(condition)) + log_det, truncation, z

    def _values(self, x, y, training, seed=None):
        log_prob, _, z = self._evaluate(x, y, seed, training)
        means = {"loss": -log_prob, "bits_per_dim": self._bits_per_dim(log_prob)}
        return Values(means, {"log_prob": log_prob, "latents": z}, {"log_prob": x, "latents": x})

    def _bits_per_dim(self, log_prob: tf.Tensor) -> tf.Tensor:
        return -log_prob / (self.event_size * math.log(2))

    def _inputs_and_targets(self, x, y):
        x, y = super()._inputs_and_targets(x, y)
        if y is None and isinstance(x, (tuple, list)) and len(x) == 2:
            x, y = x  # events and conditions
        return x, y

    def _expect_arrays(self, x, y):
        super()._expect_arrays(x, y)
        if self.built:
            expect_events(self.layer, tf.TensorSpec(x.shape))
            as_condition(self, y, len(x))

    def predict_step(self, data):
        x, y, _ = self._unpack(data)
        given = {} if self.condition_size is None else {"condition": y}
        return self(x, training=False, **given)

    def log_prob(self, x: Any, condition: Any = None, seed: Seed = None) -> tf.Tensor:
        """Log-density of `x` `[batch, *event]`, in nats `[batch]`. `seed` is for estimators."""
        return self._evaluation(x, condition, seed)()[0]

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
        proven = tf.constant(lipschitz, self.layer.working_dtype)

        def draw(index: int, x: Any, condition: Any) -> tuple[tf.Tensor, tf.Tensor]:
            own = fold_in(as_seed(seed), index)
            options = {"seed": own, "proven": proven}
            return self.traces.run("with error", self._evaluate, x, condition, **options)[:2]

        estimators = (
            block.log_det.resolve(math.prod(block.event_shape or ()), False)
            for block in self._flatten_layers()
            if isinstance(block, BranchBlock)
        )
        if not any(estimator.is_random for estimator in estimators):
            draws = max_draws = 1
        return mean_of_draws(draw, x, condition, draws, standard_error, max_draws)

    def score(self, x: Any, condition: Any = None, seed: Seed = None) -> tf.Tensor:
        """The gradient of the log-density with respect to `x`: `[batch, *event]`."""
        x, condition = self._tensors(x, condition)
        return self.traces.run("score", self._score, x, condition, seed=as_seed(seed))

    def hessian(self, x: Any, condition: Any = None, seed: Seed = None) -> tf.Tensor:
        """The second derivatives of the log-density: `[batch, *event, *event]`.

        One product with a direction after another, as many as an event has dimensions. (With
        `tape.batch_jacobian` TensorFlow needs `experimental_use_pfor=False`.) A flow that is
        solved for in the forward direction, as monotone blocks are, has second derivatives in eager
        mode only: TensorFlow doesn't differentiate its solvers' gradients in a loop.

        Raises:
            ValueError: for such a flow in a graph.
        """
        x, condition = self._tensors(x, condition)
        solved = self.layer.num_solvers[0] > 0
        if solved and not tf.executing_eagerly():
            raise ValueError(
                "Expected eager mode for second derivatives of a flow that is solved for in the "
                "forward direction. Received: a graph. Call hessian() outside of tf.function."
            )
        rows = []
        for direction in tf.unstack(tf.eye(self.event_size, dtype=x.dtype)):
            options = {"direction": direction, "seed": as_seed(seed)}
            if solved:
                rows.append(self._product(x, condition, **options))
            else:
                rows.append(self.traces.run("hessian", self._product, x, condition, **options))
        shape = tf.concat([tf.shape(x), self.event_shape], 0)
        flat = [tf.reshape(row, [tf.shape(x)[0], self.event_size]) for row in rows]
        return tf.reshape(tf.stack(flat, axis=1), shape)

    def _score(self, x: tf.Tensor, condition: Any, seed: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            log_prob, *_ = self._evaluate(x, condition, seed)
        return tape.gradient(log_prob, x)

    def _product(self, x: Any, condition: Any, direction: Any, seed: Any) -> tf.Tensor:
        """The Hessian times a direction `[event size]`, `[batch, *event]`."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            score = self._score(x, condition, seed)
            along = tf.reduce_sum(score * tf.reshape(direction, self.event_shape))
        return tape.gradient(along, x)

    def sample(
        self, num: int, condition: Any = None, seed: Seed = None, temperature: float = 1.0
    ) -> tf.Tensor:
        """Samples `[num, *event]`. Rows whose inverse wasn't certified are NaN, with a warning.

        Args:
            num: how many.
            condition: `[num, size]`, or `[size]` or `[1, size]` for all of them.
            seed: without one every call draws new samples.
            temperature: factor of the latents' distance from their mean, or what the base says
                instead. Below 1 samples come from the dense middle, likelier and less varied. Only
                at 1 do they follow the density.
        """
        static = num if isinstance(num, int) else None
        condition = self._conditions(condition, num, static)
        z = self._latents(num, seed, temperature, *self.base.arguments(condition))
        return self._decode(z, condition)

    def _latents(self, num: Any, seed: Seed, temperature: Any, *of_rows: Any) -> tf.Tensor:
        if not (tf.is_tensor(temperature) or 0 <= temperature < math.inf):
            raise ValueError(
                f"Expected a finite temperature ≥ 0. Received: temperature={temperature}"
            )
        if seed is None:
            seed = tf.cast(self._sampling_seeds.next(), tf.int32)
        options = {"num": tf.convert_to_tensor(uncached(num), tf.int32), "seed": as_seed(seed)}
        if tf.is_tensor(temperature) or temperature != 1:  # a base without a mean knows no other
            options["temperature"] = tf.cast(uncached(temperature), self.layer.working_dtype)

        def latents(*given: Any, num: Any, seed: Any, temperature: Any = 1.0) -> tf.Tensor:
            return self.base.sample(num, seed, temperature, *given)

        return self.traces.run("latents", latents, *of_rows, **options)

    def distribution(self, condition: Any = None) -> Any:
        """The flow as a `tfd.TransformedDistribution`: a view that follows the weights.

        Of a flow with a conditional base the condition can't be changed by `bijector_kwargs`.
        """
        from tf_iresnet.distributions import FlowDistribution

        return FlowDistribution(self, condition)

    def get_config(self):
        return {**super().get_config(), "base": keras.saving.serialize_keras_object(self.base)}
