"""Many copies of one layer as a single loop over stacked weights."""

import functools
from typing import Any

import tensorflow as tf

from tf_iresnet.layers.composition import Wrapper
from tf_iresnet.layers.invertible import How, InvertibleLayer, Mapped
from tf_iresnet.layers.serialization import register
from tf_iresnet.numerics.fixed_point import Solution


@register
class Repeated(Wrapper):
    """`times` copies of a layer one after another, each with weights of its own.

    It computes what an `InvertibleSequential` of `times` such layers does, but binds all copies in
    one pass, and is traced, compiled and optimised once: unrolled, every residual block costs about
    a second before the first training step. Weights have a leading axis of length `times`.

    Args:
        layer: the `InvertibleLayer` to repeat, not yet built; its output shape is its input shape.
            Use an `InvertibleSequential` for a pattern. Copies vary the seeds of its initialisers.
        times: number of copies.

    Raises:
        ValueError: for a layer that is built, isn't invertible or changes the shape.

    Example:

        block = tf_iresnet.layers.ResidualBlock([
            tf_iresnet.layers.SpectralDense(64, activation="lipswish"),
            tf_iresnet.layers.SpectralDense(2),
        ])
        flow = tf_iresnet.ResidualFlow(tf_iresnet.layers.Repeated(block, 100))
    """

    def __init__(self, layer: InvertibleLayer, times: int, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        if times < 1:
            raise ValueError(f"Expected times ≥ 1. Received: times={times}")
        self.times = times

    @property
    def num_solvers(self) -> tuple[int, int]:
        forward, backward = self.layer.num_solvers
        return self.times * forward, self.times * backward

    def build(self, input_shape):
        self.layer.set_stack((*self.stack, self.times))
        super().build(input_shape)

    def _map(self, bound: Any, x: tf.Tensor, how: How = None, *, reverse: bool) -> Mapped:
        method = self.layer.pull if reverse else self.layer.push
        solvers = self.layer.num_solvers[reverse]
        zeros = tf.zeros_like(x[(slice(None), *[0] * (x.shape.rank - 1))])
        elements = self._elements(bound)
        dtypes = (tf.int32, tf.int32, x.dtype, tf.bool) if solvers else ()
        fields = [tf.TensorArray(dtype, self.times) for dtype in dtypes]

        def body(count, x, totals, fields):
            index = self.times - 1 - count if reverse else count
            mapped = method(_read(bound, elements, index), x, how and how.at(index))
            if how is not None:
                log_det, truncation = totals
                totals = log_det + mapped.log_det, truncation + mapped.truncation
            if solvers:
                fields = _written(fields, index, mapped.solution()[1:])
            return count + 1, tf.ensure_shape(mapped.value, x.shape), totals, fields

        carry = (tf.constant(0), x, () if how is None else (zeros, zeros), fields)
        loop = tf.while_loop(lambda *_: True, body, carry, maximum_iterations=self.times)
        _, x, totals, fields = loop
        shape = [self.times * solvers, tf.shape(x)[0]]
        fields = [tf.reshape(field.stack(), shape) for field in fields]
        solutions = (Solution(None, *fields),) if solvers else ()
        log_det, truncation = totals or (None, None)
        return Mapped(x, log_det, truncation, solutions)

    push = functools.partialmethod(_map, reverse=False)
    pull = functools.partialmethod(_map, reverse=True)

    def initialize(self, bound, x, reverse):
        elements = self._elements(bound)
        arrays = [tf.TensorArray(x.dtype, self.times) for _ in self.initialized_weights]

        def body(count, x, arrays):
            index = self.times - 1 - count if reverse else count
            values, y = self.layer.initialize(_read(bound, elements, index), x, reverse)
            return count + 1, tf.ensure_shape(y, x.shape), _written(arrays, index, values)

        carry = (tf.constant(0), x, arrays)
        loop = tf.while_loop(lambda *_: True, body, carry, maximum_iterations=self.times)
        _, x, arrays = loop
        return [array.stack() for array in arrays], x

    def copies(self, bound, index=()):
        for copy in range(self.times):
            yield from self.layer.copies(_slice(bound, copy), (*index, copy))

    def visit(self, bound, x, callback, index=()):
        for copy in range(self.times):
            x = self.layer.visit(_slice(bound, copy), x, callback, (*index, copy))
        return x

    def serialized(self, argument):
        # A layer that is read from a config must not be built before it knows of its copies.
        return _unbuilt(super().serialized(argument))

    def _elements(self, bound: Any) -> list[tf.TensorArray]:
        """The tensors of all copies, to be read one by one."""
        return [
            tf.TensorArray(t.dtype, self.times, clear_after_read=False).unstack(t)
            for t in tf.nest.flatten(bound)
        ]


def _read(bound: Any, elements: list[tf.TensorArray], index: tf.Tensor) -> Any:
    return tf.nest.pack_sequence_as(bound, [element.read(index) for element in elements])


def _written(arrays: list[tf.TensorArray], index: tf.Tensor, values: Any) -> list[tf.TensorArray]:
    pairs = zip(arrays, tf.nest.flatten(values), strict=True)
    return [array.write(index, value) for array, value in pairs]


def _slice(bound: Any, copy: int) -> Any:
    return tf.nest.map_structure(lambda tensor: tensor[copy], bound)


def _unbuilt(config: Any) -> Any:
    """The config of a layer that isn't built, nor are the layers in it."""
    if isinstance(config, dict):
        return {key: _unbuilt(value) for key, value in config.items() if key != "build_config"}
    return [_unbuilt(item) for item in config] if isinstance(config, list) else config
