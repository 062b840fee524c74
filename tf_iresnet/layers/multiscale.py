"""Multi-scale composition, which lets half of the channels leave after every stage."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tf_iresnet.layers.composition import InvertibleSequential, total_solvers
from tf_iresnet.layers.invertible import InvertibleLayer, Mapped, expect_invertible
from tf_iresnet.layers.reshaping import expect_outputs
from tf_iresnet.layers.serialization import inherit_dtype, register

Step = Callable[[int, InvertibleLayer, tf.Tensor], tf.Tensor]


@register
class MultiScale(InvertibleLayer):
    """Stages one after another; after each but the last, half of the channels become latents.

    The channels that leave aren't transformed any further, which saves their share of the later
    stages' work and gives the loss a short way to the first ones (Real NVP, arXiv 1605.08803,
    section 3.6). Of `C` channels the last `C // 2` leave. Stages begin or end with a
    `Squeeze` where the resolution is to change.

    The latents are one vector per example: those that leave after the first stage, then those of
    the second, …, then the output of the last stage, each in row-major order of its
    `[height, width, channels]`. `split` cuts a vector into these tensors, `latent_shapes` are
    their shapes.

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
        layers: list[Any] = [
            InvertibleSequential(stage) if isinstance(stage, (list, tuple)) else stage
            for stage in stages
        ]
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
        size = sum(tf.TensorShape(s).num_elements() for s in self._shapes(input_shape))
        return (input_shape[0], size)

    def _shapes(self, input_shape: Any, build: bool = False) -> list[tuple[int, ...]]:
        """The latents' shapes in order, without the batch."""
        shape, shapes = tuple(input_shape), []
        for index, stage in enumerate(self.stages):
            if build and not stage.built:
                stage.build(shape)
            shape = tuple(stage.compute_output_shape(shape))
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
        expect_outputs(self, z)
        sizes = [tf.TensorShape(shape).num_elements() for shape in self.latent_shapes]
        parts = tf.split(z, sizes, axis=1)
        return [
            tf.reshape(part, [-1, *shape])
            for part, shape in zip(parts, self.latent_shapes, strict=True)
        ]

    def through_stages(self, x: tf.Tensor, step: Step) -> tf.Tensor:
        """Latents of `x`, where `step(index, stage, x)` does what a stage does."""
        parts = []
        for index, stage in enumerate(self.stages):
            x = step(index, stage, x)
            if self._splits(index):
                stay = x.shape[-1] - x.shape[-1] // 2
                parts.append(x[..., stay:])
                x = x[..., :stay]
        sizes = [tf.TensorShape(shape).num_elements() for shape in self.latent_shapes]
        flat = zip([*parts, x], sizes, strict=True)
        return tf.concat([tf.reshape(part, [-1, size]) for part, size in flat], axis=1)

    def back_through_stages(self, z: tf.Tensor, step: Step) -> tf.Tensor:
        """Inputs for latents `z`, where `step(index, stage, y)` does what a stage's inverse does.

        From the last stage to the first.
        """
        *parts, y = self.split(z)
        for index, stage in reversed(list(enumerate(self.stages))):
            if self._splits(index):
                y = tf.concat([y, parts.pop()], axis=-1)
            y = step(index, stage, y)
        return y

    def bind(self, condition=None, training=None):
        return tuple(stage.bind(condition, training) for stage in self.stages)

    def push(self, bound, x, how=None):
        steps = []

        def step(index, stage, x):
            steps.append(stage.push(bound[index], x, how and how.at(index)))
            return steps[-1].value

        value = self.through_stages(x, step)
        return Mapped.composed(steps)._replace(value=value)

    def pull(self, bound, y, how=None):
        steps = []

        def step(index, stage, y):
            steps.append(stage.pull(bound[index], y, how and how.at(index)))
            return steps[-1].value

        value = self.back_through_stages(y, step)
        return Mapped.composed(steps, reverse=True)._replace(value=value)

    @property
    def initialized_weights(self):
        return [weight for stage in self.stages for weight in stage.initialized_weights]

    def initialize(self, bound, x, reverse):
        values: list[list[tf.Tensor]] = [[] for _ in self.stages]

        def step(index, stage, x):
            values[index], x = stage.initialize(bound[index], x, reverse)
            return x

        x = (self.back_through_stages if reverse else self.through_stages)(x, step)
        return [value for own in values for value in own], x

    def copies(self, bound, index=()):
        for stage, own in zip(self.stages, bound, strict=True):
            yield from stage.copies(own, index)

    def visit(self, bound, x, callback, index=()):
        return self.through_stages(x, lambda i, stage, x: stage.visit(bound[i], x, callback, index))
