"""Multi-scale composition, which lets half of the channels leave after every stage."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from keras import ops

from tf_iresnet.layers.checks import expect_events
from tf_iresnet.layers.composition import (
    Initialization,
    InvertibleSequential,
    total_solvers,
    weights_to_initialize,
)
from tf_iresnet.layers.invertible import How, InvertibleLayer, Mapped, expect_invertible
from tf_iresnet.layers.serialization import build_once, inherit_dtype, register


@register
class MultiScale(InvertibleLayer):
    """Stages one after another; after each but the last, half of the channels become latents.

    The channels that leave aren't transformed any further, which saves their share of the later
    stages' work and gives the loss a short way to the first ones (Real NVP, arXiv 1605.08803,
    section 3.6). Of `C` channels the last `C // 2` leave. Stages begin or end with a `Squeeze`
    where the resolution is to change.

    The latents are one vector per example: what leaves after each stage in turn, then the output of
    the last one, each in row-major order of its `[height, width, channels]`. `split` cuts a vector
    into these tensors, `latent_shapes` are their shapes.

    Args:
        stages: `InvertibleLayer`s, or lists of them.
        factor_out: False splits nothing: plain composition, its output flattened.

    Input shape: `[batch, *event]`, channels last. Output shape: `[batch, size]`, where `size` is
    that of the event.

    Raises:
        ValueError: for no stages, a stage that isn't invertible, one channel where half of them
            should leave.

    Example:

        def stage(channels):
            return tf_iresnet.layers.ResidualBlock([
                tf_iresnet.layers.SpectralDense(32, activation="lipswish"),
                tf_iresnet.layers.SpectralDense(channels),
            ])

        layer = tf_iresnet.layers.MultiScale([
            [tf_iresnet.layers.Squeeze(), stage(12)],
            [tf_iresnet.layers.Squeeze(), stage(24)],
        ])
        layer(tf.zeros((8, 32, 32, 3)))  # [8, 3072]
        layer.latent_shapes  # (16, 16, 6) and (8, 8, 24)
    """

    def __init__(
        self,
        stages: Sequence[InvertibleLayer | Sequence[InvertibleLayer]],
        factor_out: bool = True,
        **kwargs: Any,
    ) -> None:
        several = (list, tuple)
        layers = [InvertibleSequential(s) if isinstance(s, several) else s for s in stages]
        super().__init__(**inherit_dtype(kwargs, layers))
        self.stages = expect_invertible(layers)
        self.factor_out = factor_out
        self.latent_shapes: tuple[tuple[int, ...], ...] = ()

    @property
    def num_solvers(self) -> tuple[int, int]:
        return total_solvers(self.stages)

    def build(self, input_shape):
        super().build(input_shape)
        self.latent_shapes = tuple(self._shapes(input_shape, build=True))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], sum(map(math.prod, self._shapes(input_shape))))

    def _shapes(self, input_shape: Any, build: bool = False) -> list[tuple[int, ...]]:
        """The latents' shapes in order, without the batch."""
        shape, shapes = tuple(input_shape), []
        for index, stage in enumerate(self.stages):
            shape = build_once(stage, shape) if build else tuple(stage.compute_output_shape(shape))
            if self._splits(index):
                leave = shape[-1] // 2
                if not leave:
                    raise ValueError(
                        f"Expected at least 2 channels after stage {index}, of which half leave. "
                        f"Received: event shape {shape[1:]}. Begin the stage with "
                        "tf_iresnet.layers.Squeeze, or set factor_out=False."
                    )
                shapes.append((*shape[1:-1], leave))
                shape = (*shape[:-1], shape[-1] - leave)
        return [*shapes, shape[1:]]

    def _splits(self, index: int) -> bool:
        return self.factor_out and index < len(self.stages) - 1

    def split(self, z: tf.Tensor) -> list[tf.Tensor]:
        """The latents `[batch, size]` as tensors `[batch, *shape]`, one for each latent shape."""
        z = tf.convert_to_tensor(z)
        expect_events(self, z, inverse=True)
        parts = tf.split(z, [math.prod(shape) for shape in self.latent_shapes], axis=1)
        shapes = zip(parts, self.latent_shapes, strict=True)
        return [tf.reshape(part, [-1, *shape]) for part, shape in shapes]

    def _through_stages(
        self, x: tf.Tensor, step: Callable[[int, tf.Tensor], tf.Tensor], reverse: bool = False
    ) -> tf.Tensor:
        """Latents of `x`, where `step(index, x)` is a stage's map; with `reverse` the inverse."""
        if reverse:
            *parts, x = self.split(x)
            for index in reversed(range(len(self.stages))):
                if self._splits(index):
                    x = tf.concat([x, parts.pop()], axis=-1)
                x = step(index, x)
            return x
        parts = []
        for index in range(len(self.stages)):
            x = step(index, x)
            if self._splits(index):
                stay = x.shape[-1] - x.shape[-1] // 2
                parts.append(x[..., stay:])
                x = x[..., :stay]
        flat = zip([*parts, x], map(math.prod, self.latent_shapes), strict=True)
        # By operations that take symbolic tensors of Keras too, for `fold`.
        return ops.concatenate([ops.reshape(part, [-1, size]) for part, size in flat], axis=1)

    def bind(self, condition=None, training=None):
        return tuple(stage.bind(condition, training) for stage in self.stages)

    def _map(self, bound: Any, x: tf.Tensor, how: How = None, *, reverse: bool) -> Mapped:
        steps: list[Mapped] = []

        def step(index: int, x: tf.Tensor) -> tf.Tensor:
            stage = self.stages[index]
            method = stage.pull if reverse else stage.push
            steps.append(method(bound[index], x, how and how.at(index)))
            return steps[-1].value

        value = self._through_stages(x, step, reverse)
        return Mapped.composed(steps, reverse)._replace(value=value)

    push = functools.partialmethod(_map, reverse=False)
    pull = functools.partialmethod(_map, reverse=True)

    def fold(self, x, folding):
        return self._through_stages(x, lambda index, x: self.stages[index].fold(x, folding))

    @property
    def initialized_weights(self):
        return weights_to_initialize(self.stages)

    def initialize(self, bound, values, x, reverse):
        found = Initialization(self.initialized_weights, values)

        def step(index, x):
            return found.step(self.stages[index], bound[index], x, reverse)

        x = self._through_stages(x, step, reverse)
        return found.values, x

    def copies(self, bound, index=()):
        for stage, own in zip(self.stages, bound, strict=True):
            yield from stage.copies(own, index)

    def visit(self, bound, x, callback, index=()):
        def step(i, x):
            return self.stages[i].visit(bound[i], x, callback, index)

        return self._through_stages(x, step)
