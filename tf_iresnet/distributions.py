"""A flow as a TFP distribution, whose eager calls take no longer than the flow's own."""

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.distributions import transformed_distribution
from tensorflow_probability.python.internal import samplers

from tf_iresnet.bijectors import InvertibleBijector

# What `tfd.TransformedDistribution(…)` makes of a bijector that isn't a composite tensor.
_TransformedDistribution: Any = transformed_distribution._TransformedDistribution


class FlowDistribution(_TransformedDistribution):
    """The density of a flow as a `tfd.TransformedDistribution`: a view that follows the weights.

    Methods that take samples or draw them run traces, which the flow keeps, in eager mode; all
    else is TFP's. Events are `[..., *flow.event_shape]`.

    Args:
        flow: a built `ResidualFlow`.
        condition: `[..., size]`, whose leading axes are the batch shape; None without one.
        name: of the distribution.
    """

    def __init__(self, flow: Any, condition: Any = None, name: str | None = None) -> None:
        parameters = dict(locals())
        self._flow = self._no_dependency(flow)
        self._condition = condition
        if (condition is None) != (flow.condition_size is None):
            expected = "None" if condition is not None else f"of shape [..., {flow.condition_size}]"
            raise ValueError(f"Expected condition to be {expected}. Received: {condition=}")
        base = flow.base.distribution(*flow.base.arguments(condition))
        of_layer = None if flow.layer.condition_size is None else condition
        to_data = tfp.bijectors.Invert(InvertibleBijector(flow.layer, condition=of_layer))
        super().__init__(base, to_data, parameters=parameters, name=name)

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {"condition": tfp.util.ParameterProperties(event_ndims=1)}

    def _log_prob(self, y, **kwargs):
        return self._run("_log_prob", (y,), kwargs)

    def _call_sample_n(self, sample_shape, seed, **kwargs):
        return self._run("_call_sample_n", (sample_shape, seed), kwargs)

    def _sample_and_log_prob(self, sample_shape, seed, **kwargs):
        return self._run("_sample_and_log_prob", (sample_shape, seed), kwargs)

    def _run(self, method: str, arguments: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """TFP's method, in eager mode by a trace."""
        if not tf.executing_eagerly():
            return getattr(super(), method)(*arguments, **kwargs)
        first, *seed = arguments
        event = len(self._flow.event_shape)
        first = tf.convert_to_tensor(first, None if not seed else tf.int32)
        spec = tf.TensorSpec(first.shape, first.dtype)
        if not seed:
            spec = tf.TensorSpec(
                [None] * (first.shape.rank - event) + first.shape[-event:], first.dtype
            )
        kwargs = _without_none(kwargs)
        others = {"seed": [samplers.sanitize_seed(s) for s in seed], "kwargs": kwargs}
        others["condition"] = [] if self._condition is None else [self._condition]
        others = tf.nest.map_structure(tf.convert_to_tensor, others)
        specs = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), others)

        def run(first: tf.Tensor, others: dict[str, Any]) -> Any:
            plain = FlowDistribution(self._flow, *others["condition"])
            return plain._run(method, (first, *others["seed"]), others["kwargs"])

        return self._flow.traces.run_as(method, run, (first, others), (spec, specs))


def _without_none(kwargs: Any) -> Any:
    """Nested keyword arguments without those that are None, which is what they are by default."""
    if not isinstance(kwargs, dict):
        return kwargs
    return {key: _without_none(value) for key, value in kwargs.items() if value is not None}
