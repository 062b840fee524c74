"""The one adapter between invertible layers and TensorFlow Probability."""

import operator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow.python.eager import record
from tensorflow_probability.python.internal import cache_util

from tf_iresnet.layers.invertible import Estimation, InvertibleLayer
from tf_iresnet.layers.tracking import RawVariables, components
from tf_iresnet.numerics.probes import Seed, as_seed


class InvertibleBijector(tfp.bijectors.Bijector):
    """A built `InvertibleLayer` as a bijector: forward is data → latent, as the layer's.

    A distribution maps base → data, so it takes the inverse: `log_prob` then runs the layer forward
    and `sample` runs its inverse. Under `tf.function`, `log_prob` costs one `forward_with_log_det`;
    in eager mode one more forward pass, which proves that no weight moved in between. The layer
    owns the weights, and values follow them at once. A Keras model must hold the layer as well; it
    can't see weights through a bijector.

    Args:
        layer: a built `InvertibleLayer`; its `working_dtype` is the bijector's dtype.
        name: key of this bijector in the keyword arguments of a `tfb.Chain`.
        validate_args: whether NaN in an inverse (not certified by the layer's solver) is an
            `InvalidArgumentError`. XLA drops such checks.
        condition: default condition, `[..., layer.condition_size]`. Its leading dimensions become
            the batch shape of the bijector and of a distribution made from it.

    Call arguments (of `forward`, `inverse` and both log-det methods):
        condition: replaces the constructor's; broadcast against the leading shape of the events.
        seed: an int or int32 pair for estimated log-determinants; None is the layer's fixed seed.
            Through a distribution: `log_prob(x, bijector_kwargs={"condition": c, "seed": 1})`. A
            `tfb.Chain` takes `{"invert_" + bijector.name: {"condition": c}}`, and ignores unknown
            names.

    Input shape: `[..., *layer.event_shape]`.

    Raises:
        ValueError: for a layer that isn't built, events or conditions of another shape, a missing
            or a superfluous condition.
        TypeError: for tensors of another dtype (arrays are converted), unknown keyword arguments.

    For a `z` that `forward(x)` made under the same tape, `inverse_log_det_jacobian(z)` is a
    function of `x`, not of `z`. `tfb.Chain` keeps TFP's cache: in eager mode it maps a tensor that
    it returned before a weight update to the old latent; give it `tf.identity(x)` instead.

    Example:

        bijector = tf_iresnet.bijectors.InvertibleBijector(flow.layer)
        base = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
        distribution = tfd.TransformedDistribution(base, tfb.Invert(bijector))
        distribution.log_prob(x), distribution.sample(5, seed=1)
    """

    def __init__(
        self,
        layer: InvertibleLayer,
        name: str | None = None,
        validate_args: bool = False,
        condition: Any = None,
    ) -> None:
        parameters = dict(locals())
        if not (isinstance(layer, InvertibleLayer) and layer.built and layer.event_shape):
            raise ValueError(
                f"Expected a built InvertibleLayer. Received: layer={layer!r}. Call it on data, or "
                "build((None, *event_shape)); of a model pass model.layer."
            )
        output_shape = tuple(layer.compute_output_shape((None, *layer.event_shape))[1:])
        with tf.name_scope(name or "invertible_bijector") as name:
            self.layer, self.condition = layer, condition
            self._shapes = self._no_dependency((tuple(layer.event_shape), output_shape))
            super().__init__(
                dtype=tf.as_dtype(layer.working_dtype),
                forward_min_event_ndims=len(layer.event_shape),
                inverse_min_event_ndims=len(output_shape),
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType) -> dict[str, Any]:
        return {"condition": tfp.util.ParameterProperties(event_ndims=1)}

    # -- maps: TFP calls these with tensors of the bijector's dtype -------------------------------

    def _forward(self, x: tf.Tensor, condition: Any = None, seed: Seed = None) -> tf.Tensor:
        # A graph prunes what nobody asks for, so the log-determinant costs nothing there.
        how = None if tf.executing_eagerly() else Estimation(as_seed(seed))
        y, log_det = self._mapped(x, condition, how)
        self._remember(y, x, log_det, condition, seed)
        return y

    def _forward_log_det_jacobian(self, x: Any, condition: Any = None, seed: Seed = None) -> Any:
        return self._mapped(x, condition, Estimation(as_seed(seed)))[1]

    def _inverse(self, y: tf.Tensor, condition: Any = None, seed: Seed = None) -> tf.Tensor:
        link = self._recall(y, condition)
        if link and (link.context[0] or _agree(self._mapped(link.x, condition)[0], y)):
            return link.x
        x, _ = self._mapped(y, condition, inverse=True)
        if self.validate_args:
            x = tf.debugging.check_numerics(x, f"{self.layer.name!r} could not invert every event")
        self._remember(y, x, None, condition, seed)
        return x

    def _inverse_log_det_jacobian(self, y: Any, condition: Any = None, seed: Seed = None) -> Any:
        link, how = self._recall(y, condition), Estimation(as_seed(seed))
        if link and link.log_det is not None and link.seed is seed:
            return -link.log_det
        if link:
            value, log_det = self._mapped(link.x, condition, how)
            if link.context[0] or _agree(value, y):
                return -log_det
        return self._mapped(y, condition, how, inverse=True)[1]

    def _mapped(
        self, value: Any, condition: Any, how: Estimation | None = None, inverse: bool = False
    ) -> tuple[Any, Any]:
        """Maps events `[..., *event_shape]` by the layer, which takes rows `[batch, …]`.

        Returns the values and, where `how` asks for them, the log-determinants `[...]`.
        """
        shape, mapped_shape = self._shapes[::-1] if inverse else self._shapes
        rank = len(shape)
        if not value.shape[-rank:].is_compatible_with(shape):
            raise ValueError(
                f"Expected events of shape [..., {', '.join(map(str, shape))}]. "
                f"Received: shape={tuple(value.shape)}"
            )
        leading, static = tf.shape(value)[:-rank], value.shape[:-rank]
        condition = self._checked(condition)
        if condition is not None:
            size = condition.shape[-1:]
            static = tf.broadcast_static_shape(static, condition.shape[:-1])
            leading = tf.broadcast_dynamic_shape(leading, tf.shape(condition)[:-1])
            rows = tf.broadcast_to(condition, tf.concat([leading, size], 0))
            condition = tf.reshape(rows, [-1, *size])
            value = tf.broadcast_to(value, tf.concat([leading, shape], 0))

        def restored(rows: tf.Tensor, event_shape: tuple[int, ...]) -> tf.Tensor:
            full = tf.concat([leading, tf.constant(event_shape, tf.int32)], 0)
            return tf.ensure_shape(tf.reshape(rows, full), static.concatenate(event_shape))

        mapped = self.layer.traced(tf.reshape(value, [-1, *shape]), condition, how, inverse)
        log_det = None if how is None else restored(mapped.log_det, ())
        return restored(tf.cast(mapped.value, self.dtype), mapped_shape), log_det

    def _checked(self, condition: Any) -> tf.Tensor | None:
        """The condition in force as a tensor `[..., condition_size]`."""
        condition = self.condition if condition is None else condition
        size = self.layer.condition_size
        if condition is not None:
            condition = tf.cast(tf.convert_to_tensor(condition), self.dtype)
            if size is not None and condition.shape[-1:].is_compatible_with([size]):
                return tf.ensure_shape(condition, [*condition.shape[:-1], size])
        elif size is None:
            return None
        expected = "None" if size is None else f"a tensor of shape [..., {size}]"
        received = None if condition is None else f"a tensor of shape {tuple(condition.shape)}"
        raise ValueError(
            f"Expected condition to be {expected} for layer {self.layer.name!r}. Received: "
            f"condition={received}. Pass it to InvertibleBijector, or to a distribution's method "
            'as bijector_kwargs={"condition": …}.'
        )

    def _of_dtype(self, value: Any) -> Any:
        if tf.is_tensor(value) and value.dtype != self.dtype:
            own, other = self.dtype.name, value.dtype.name
            raise TypeError(
                f"Expected a tensor of dtype {own}. Received: dtype={other}. Use tf.cast(value, "
                f"tf.{own}), or a layer of dtype={other!r}."
            )
        return value

    def _call_forward(self, x: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
        return super()._call_forward(self._of_dtype(x), *args, **kwargs)

    def _call_inverse(self, y: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
        return super()._call_inverse(self._of_dtype(y), *args, **kwargs)

    def _call_forward_log_det_jacobian(self, x: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
        return super()._call_forward_log_det_jacobian(self._of_dtype(x), *args, **kwargs)

    def _call_inverse_log_det_jacobian(self, y: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
        return super()._call_inverse_log_det_jacobian(self._of_dtype(y), *args, **kwargs)

    # -- event shapes -----------------------------------------------------------------------------

    def _forward_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        return shape[: -len(self._shapes[0])].concatenate(self._shapes[1])

    def _inverse_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        return shape[: -len(self._shapes[1])].concatenate(self._shapes[0])

    def _forward_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return tf.concat([shape[: -len(self._shapes[0])], self._shapes[1]], 0)

    def _inverse_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return tf.concat([shape[: -len(self._shapes[1])], self._shapes[0]], 0)

    # -- memory: links on the latents instead of TFP's cache --------------------------------------

    class _Forgetful(cache_util.BijectorCache):
        """TFP's cache, without its memory.

        That goes by the identity of tensors and bijectors, which stays the same after a weight
        update, under another tape, in another replica or branch, where the values don't.
        """

        def _lookup(self, value: Any, name: str, _: str, **kwargs: Any) -> Any:
            return self._invoke(value, name, kwargs, {})

        def _attributes(self, value: Any, name: str, **kwargs: Any) -> dict[str, Any]:
            return {}

    _cache = _Forgetful()

    def _context(self, condition: Any) -> tuple[Any, ...]:
        """What a value depends on beside weights and tapes. The graph is None in eager mode."""
        condition = self.condition if condition is None else condition
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        return graph, self.layer, condition, tf.distribute.get_replica_context()

    def _remember(self, y: Any, x: Any, log_det: Any, condition: Any, seed: Seed) -> None:
        graph, *_ = context = self._context(condition)
        if getattr(y, "graph", None) is graph:  # else y would outlive the graph that x belongs to
            count = len(graph.get_operations()) if graph else 0
            link = _Link(x, log_det, seed, context, count, _recorded(y))
            others = [other for other in getattr(y, _LINKS, ()) if other.context[1] != self.layer]
            setattr(y, _LINKS, [*others, link])

    def _recall(self, y: tf.Tensor, condition: Any) -> "_Link | None":
        """How `y` came about, if that may still tell `inverse(y)`; eager mode has to confirm it."""
        for link in getattr(y, _LINKS, ()):
            if all(map(operator.is_, link.context, self._context(condition))):
                # A tape that began after the call has not seen how y came from x.
                seen = not record.could_possibly_record() or link.recorded == _recorded(y)
                return link if seen and not self._weights_written(link) else None
        return None

    def _weights_written(self, link: "_Link") -> bool:
        """Whether the graph has done more with a weight since the call than read it."""
        if not (graph := link.context[0]):
            return False
        parts = (part for weight in RawVariables(self.layer) for part in components(weight))
        handles = {id(graph.capture(part.handle)) for part in parts}
        return any(
            operation.type != "ReadVariableOp" and any(id(i) in handles for i in operation.inputs)
            for operation in graph.get_operations()[link.operations :]
        )


_LINKS = "_tf_iresnet_links"  # attribute of a tensor, so that a link lives as long as its latent


class _Link(NamedTuple):
    """The `x` that belongs to a `y` by one call, and the circumstances of that call."""

    x: tf.Tensor
    log_det: tf.Tensor | None
    seed: Seed
    context: tuple[Any, ...]
    operations: int  # how many the graph had
    recorded: tuple[bool, bool]


def _recorded(value: tf.Tensor) -> tuple[bool, bool]:  # by a tape: could it be, is it
    return record.could_possibly_record(), record.should_record_backprop([value])


def _agree(value: tf.Tensor, y: tf.Tensor) -> bool:
    """Whether `value = y` to rounding, which proves that its origin is the inverse of `y`."""
    tolerance = 100 * np.finfo(y.dtype.as_numpy_dtype).eps
    return bool(tf.reduce_all(tf.abs(value - y) <= tolerance * (1 + tf.abs(y))))
