"""Many copies of one layer as a single loop over stacked weights."""

import functools
import math
from typing import Any

import tensorflow as tf

from tf_iresnet.layers.composition import Wrapper
from tf_iresnet.layers.invertible import How, InvertibleLayer, Mapped
from tf_iresnet.layers.serialization import register
from tf_iresnet.numerics.fixed_point import Solution
from tf_iresnet.numerics.recomputation import Recomputed
from tf_iresnet.numerics.structures import read, unstacked, written

MEMORY = ("store", "recompute", "invert")


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
        memory: what a training step keeps of the forward pass for the backward pass.

            - "store": what every operation of every copy needs.
            - "recompute": the input of each copy, which is computed a second time in the backward
              pass, with the same probes. Values and gradients are the same.
            - "invert": the output of the last copy; the inputs before are rebuilt from it, each by
              the inverse of its copy, whatever their number. A solver rebuilds them to the blocks'
              `tolerance`, so gradients are those at `inverse(outputs)`, which is as far from the
              inputs as a round trip takes them; of an example that a solver couldn't certify they
              are NaN, whatever `on_failure` is. Through an `inverse` it works the other way round.

    Raises:
        ValueError: for a layer that is built, isn't invertible or changes the shape; for "invert"
            and a layer whose inverse doesn't give its inputs back: without a bound below 1, or
            with a branch in half precision.

    Example:

        block = tf_iresnet.layers.ResidualBlock([
            tf_iresnet.layers.SpectralDense(64, activation="lipswish"),
            tf_iresnet.layers.SpectralDense(2),
        ])
        flow = tf_iresnet.ResidualFlow(tf_iresnet.layers.Repeated(block, 100))
    """

    def __init__(
        self, layer: InvertibleLayer, times: int, memory: str = "store", **kwargs: Any
    ) -> None:
        super().__init__(layer, **kwargs)
        if times < 1:
            raise ValueError(f"Expected times ≥ 1. Received: times={times}")
        if memory not in MEMORY:
            raise ValueError(f"Expected memory to be one of {MEMORY}. Received: memory={memory!r}")
        if memory == "invert" and (reason := layer.irreversible):
            raise ValueError(
                "Expected layers whose inverse gives their inputs back for memory='invert'. "
                f"Received: {reason}. Use memory='recompute'."
            )
        self.times = times
        self.memory = memory

    @property
    def num_solvers(self) -> tuple[int, int]:
        forward, backward = self.layer.num_solvers
        return self.times * forward, self.times * backward

    def build(self, input_shape):
        self.layer.set_stack((*self.stack, self.times))
        super().build(input_shape)

    def _map(
        self,
        bound: Any,
        x: tf.Tensor,
        how: How = None,
        *,
        reverse: bool,
        kept: list[tf.Tensor] | None = None,
    ) -> Mapped:
        """What the copies make of `x`; the input of each, `[times, …]`, is put into `kept`."""
        if self.memory != "store" and kept is None:
            return self._recomputed(bound, x, how, reverse)
        method = self.layer.pull if reverse else self.layer.push
        solvers = self.layer.num_solvers[reverse]
        zeros = tf.zeros_like(x[(slice(None), *[0] * (x.shape.rank - 1))])
        slices = unstacked(bound, self.times)
        dtypes = (tf.int32, tf.int32, x.dtype, tf.bool) if solvers else ()
        fields = [tf.TensorArray(dtype, self.times) for dtype in dtypes]
        inputs = [tf.TensorArray(x.dtype, self.times)] if self.memory == "recompute" else []

        def body(count, x, totals, fields, inputs):
            index = self.times - 1 - count if reverse else count
            inputs = written(inputs, index, [x] if inputs else [])
            mapped = method(read(bound, slices, index), x, how and how.at(index))
            if how is not None:
                log_det, truncation = totals
                totals = log_det + mapped.log_det, truncation + mapped.truncation
            if solvers:
                fields = written(fields, index, mapped.solution()[1:])
            return count + 1, tf.ensure_shape(mapped.value, x.shape), totals, fields, inputs

        carry = (tf.constant(0), x, () if how is None else (zeros, zeros), fields, inputs)
        loop = tf.while_loop(lambda *_: True, body, carry, maximum_iterations=self.times)
        _, x, totals, fields, inputs = loop
        shape = [self.times * solvers, tf.shape(x)[0]]
        fields = [tf.reshape(field.stack(), shape) for field in fields]
        solutions = (Solution(None, *fields),) if solvers else ()
        log_det, truncation = totals or (None, None)
        if kept is not None:
            kept += [array.stack() for array in inputs]
        return Mapped(x, log_det, truncation, solutions)

    def _recomputed(self, bound: Any, x: tf.Tensor, how: How, reverse: bool) -> Mapped:
        """The same with a gradient that computes the copies again."""
        ways: list[Any] = [self.layer.push, self.layer.pull]
        forth, back = reversed(ways) if reverse else ways

        def step(own: Any, x: tf.Tensor, index: tf.Tensor) -> list[tf.Tensor]:
            mapped = forth(own, x, how and how.at(index))
            return [mapped.value] if how is None else [mapped.value, mapped.log_det]

        def undo(own: Any, y: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
            found = back(own, y).solution()
            solved = tf.reduce_all(found.converged, 0)
            solved = tf.reshape(solved, [-1, *[1] * (y.shape.rank - 1)])
            return tf.where(solved, found.value, tf.constant(math.nan, y.dtype))

        with tf.GradientTape() as tape:
            fixed, start = tf.nest.map_structure(tf.stop_gradient, (bound, x))
            kept: list[tf.Tensor] = []
            mapped = self._map(fixed, start, how, reverse=reverse, kept=kept)
            inputs = kept[0] if kept else None
        if variables := tape.watched_variables():
            raise ValueError(
                f"Expected layers that read weights in bind() alone for memory={self.memory!r}. "
                f"Received: {self.layer.name!r}, which reads {variables[0].name!r} elsewhere. "
                "Return its value from bind()."
            )
        again = Recomputed(step, None if inputs is not None else undo, self.times, reverse)
        known = [mapped.value] if how is None else [mapped.value, mapped.log_det]
        value, *log_det = again.attach(known, inputs, bound, x)
        return mapped._replace(value=value, log_det=log_det[0] if log_det else None)

    push = functools.partialmethod(_map, reverse=False)
    pull = functools.partialmethod(_map, reverse=True)

    def fold(self, x, folding):
        for copy in range(self.times):
            x = self.layer.fold(x, folding.at(copy))
        return x

    def initialize(self, bound, values, x, reverse):
        slices, before = unstacked(bound, self.times), unstacked(values, self.times)
        arrays = [tf.TensorArray(value.dtype, self.times) for value in values]

        def body(count, x, arrays):
            index = self.times - 1 - count if reverse else count
            own = read(bound, slices, index), read(values, before, index)
            found, y = self.layer.initialize(*own, x, reverse)
            return count + 1, tf.ensure_shape(y, x.shape), written(arrays, index, found)

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


def _slice(bound: Any, copy: int) -> Any:
    return tf.nest.map_structure(lambda tensor: tensor[copy], bound)


def _unbuilt(config: Any) -> Any:
    """The config of a layer that isn't built, nor are the layers in it."""
    if isinstance(config, dict):
        return {key: _unbuilt(value) for key, value in config.items() if key != "build_config"}
    return [_unbuilt(item) for item in config] if isinstance(config, list) else config
