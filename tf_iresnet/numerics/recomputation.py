"""A loop over maps whose backward pass computes each map again, so that little has to be kept.

TensorFlow's own gradient of a loop keeps what every operation of every step needs. Here a step's
operations live only while its own gradient is computed, and what remains of the forward pass is
either the input of each step (Chen et al., Training Deep Nets with Sublinear Memory Cost, arXiv
1604.06174) or, for maps with an inverse, the last output alone (Gomez et al., The Reversible
Residual Network, arXiv 1707.04585).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tf_iresnet.numerics.structures import read, unstacked, written


@dataclasses.dataclass(frozen=True)
class Recomputed:
    """`times` maps one after another, each with a slice `own` of the tensors `bound`.

    Args:
        step: `(own, x, index) → [y]` or `[y, z]`: the next `x`, and what is summed over all steps,
            such as a log-determinant `[batch]`. A pure function: at each call the same.
        undo: `(own, y, index) → x`, or None: then the inputs of all steps have to be given.
        times: number of steps.
        reverse: whether the last slice comes first.
    """

    step: Callable[[Any, tf.Tensor, tf.Tensor], Sequence[tf.Tensor]]
    undo: Callable[[Any, tf.Tensor, tf.Tensor], tf.Tensor] | None
    times: int
    reverse: bool

    def attach(
        self, outputs: Sequence[tf.Tensor], inputs: tf.Tensor | None, bound: Any, x: tf.Tensor
    ) -> list[tf.Tensor]:
        """The known results of the loop as functions of `x` and `bound`, differentiable at will.

        Args:
            outputs: the last `y` and, if there is one, the sum of all `z`.
            inputs: of each step, `[times, *shape of x]` in the order of the slices; None with
                `undo`.
            bound: a nest of tensors `[times, …]`.
            x: the input of the first step.
        """

        def grad(*upstream: tf.Tensor) -> list[tf.Tensor | None]:
            # Attached once more, for derivatives of this gradient.
            if self.undo is None:
                return self._gradients(bound, *upstream, inputs=self._attached(inputs, bound, x))
            (y,) = self.attach(outputs[:1], None, bound, x)
            return self._gradients(bound, *upstream, y=y)

        return _known(outputs, grad, x, bound)

    def _attached(self, inputs: tf.Tensor, bound: Any, x: tf.Tensor) -> tf.Tensor:
        def grad(upstream: tf.Tensor) -> list[tf.Tensor | None]:
            again = self._attached(inputs, bound, x)
            return self._gradients(bound, tf.zeros_like(x), inputs=again, along=upstream)

        return _known([inputs], grad, x, bound)[0]

    def _gradients(
        self,
        bound: Any,
        upstream: tf.Tensor,
        of_sum: tf.Tensor | None = None,
        *,
        y: tf.Tensor | None = None,
        inputs: tf.Tensor | None = None,
        along: tf.Tensor | None = None,
    ) -> list[tf.Tensor | None]:
        """Those in `x` and in each tensor of `bound`, from the last step to the first.

        Args:
            bound: see `attach`.
            upstream, of_sum: the gradients in the last output and in the sum.
            y, inputs: that output, or the inputs of all steps.
            along: further gradients in these inputs.
        """
        tensors = tf.nest.flatten(bound)
        floats = [tensor.dtype.is_floating for tensor in tensors]
        slices = unstacked(bound, self.times)
        kept, added = ([] if t is None else unstacked(t, self.times) for t in (inputs, along))
        arrays = [tf.TensorArray(t.dtype, self.times) for t in tensors if t.dtype.is_floating]
        later = [] if of_sum is None else [of_sum]

        def body(count, y, upstream, arrays):
            index = count if self.reverse else self.times - 1 - count
            own = read(bound, slices, index)
            x = kept[0].read(index) if kept else self.undo(own, y[0], index)
            x = tf.ensure_shape(x, upstream.shape)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                sources = [x, *(t for t in tf.nest.flatten(own) if t.dtype.is_floating)]
                tape.watch(sources)
                targets = self.step(own, x, index)[: 1 + len(later)]
            zero = tf.UnconnectedGradients.ZERO
            earlier, *of_own = tape.gradient(targets, sources, [upstream, *later], zero)
            if added:
                earlier += added[0].read(index)
            arrays = written(arrays, index, [tf.convert_to_tensor(g) for g in of_own])
            return count + 1, [] if kept else [x], tf.ensure_shape(earlier, x.shape), arrays

        start = (tf.constant(0), [] if kept else [y], upstream, arrays)
        _, _, earliest, arrays = tf.while_loop(
            lambda *_: True,
            body,
            start,
            maximum_iterations=self.times,
            parallel_iterations=1,  # or several steps are computed before their turn, and kept
        )
        found = iter(arrays)
        return [earliest, *(next(found).stack() if is_float else None for is_float in floats)]


def _known(
    values: Sequence[tf.Tensor], grad: Callable[..., Any], x: tf.Tensor, bound: Any
) -> list[tf.Tensor]:
    """The values as functions of `x` and the tensors of `bound` with that gradient."""

    @tf.custom_gradient
    def function(*inputs: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., Any]]:
        return [tf.identity(value) for value in values], grad

    return function(x, *tf.nest.flatten(bound))
