"""Flows for images: published architectures by name, and changes to them."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from tf_iresnet.layers import activations
from tf_iresnet.layers.concatenation import LipschitzConcat
from tf_iresnet.layers.convolution import SpectralConv2D
from tf_iresnet.layers.invertible import InvertibleLayer, InvertibleSequential
from tf_iresnet.layers.multiscale import MultiScale
from tf_iresnet.layers.normalization import ActNorm
from tf_iresnet.layers.repeated import Repeated
from tf_iresnet.layers.reshaping import Reshape, Squeeze
from tf_iresnet.layers.residual import ResidualBlock
from tf_iresnet.layers.spectral import SpectralDense
from tf_iresnet.models.base import DiagonalNormal
from tf_iresnet.models.flow import ResidualFlow


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What an image flow is made of.

    Attributes:
        blocks: residual blocks at each scale; a `Squeeze` comes between scales.
        width: hidden channels of a plain branch.
        kernels: sizes of its convolutions.
        growth: channels that each layer of a densely connected branch adds (i-DenseNet), by 3×3
            convolutions before a last one of 1×1; 0 for plain branches.
        depth: such layers in a branch.
        activation: in a plain branch before each convolution, except at the start of the very
            first block; in a dense one after each but the last.
        coefficient: bound on the norm of each layer.
        squeeze_first: whether a `Squeeze` comes before the first scale.
        factor_out: whether half of the channels leave after each scale.
        tail_blocks: fully connected blocks on what the last scale gives.
        tail_width: hidden units of these; of dense ones, those of their first layer.
        tail_growth: units that each further layer of a dense one adds.
    """

    blocks: tuple[int, ...] = (16, 16, 16)
    width: int = 512
    kernels: tuple[int, ...] = (3, 1, 3)
    growth: int = 0
    depth: int = 3
    activation: str = "lipswish"
    coefficient: float = 0.98
    squeeze_first: bool = False
    factor_out: bool = False
    tail_blocks: int = 4
    tail_width: int = 128
    tail_growth: int = 32


_IRESNET = Architecture(activation="elu", coefficient=0.9, tail_blocks=0)
_RESFLOW = Architecture()
_IDENSENET = Architecture(growth=172, activation="clipswish", tail_width=64)

# Behrmann et al., arXiv 1811.00995; Chen et al., 1906.02735; Perugachi-Diaz et al., 2102.02694.
ARCHITECTURES = {
    "iresnet-mnist": dataclasses.replace(_IRESNET, width=32),
    "iresnet-cifar10": _IRESNET,
    "resflow-mnist": _RESFLOW,
    "resflow-cifar10": _RESFLOW,
    "resflow-imagenet32": dataclasses.replace(_RESFLOW, blocks=(32, 32, 32)),
    "resflow-imagenet64": dataclasses.replace(
        _RESFLOW, blocks=(32, 32, 32), factor_out=True, squeeze_first=True
    ),
    "idensenet-cifar10": _IDENSENET,
    "idensenet-imagenet32": dataclasses.replace(_IDENSENET, blocks=(32, 32, 32)),
}


def image_flow(
    image_shape: Sequence[int],
    architecture: str = "resflow-cifar10",
    base: str | DiagonalNormal = "normal",
    log_det: Any = "auto",
    seed: int | None = None,
    *,
    preprocessing: Sequence[InvertibleLayer] = (),
    tolerance: float = 1e-5,
    dtype: Any = None,
    **changes: Any,
) -> ResidualFlow:
    """A flow of convolutional residual blocks for images `[batch, height, width, channels]`.

    Args:
        image_shape: `(height, width, channels)`.
        architecture: a name in `tf_iresnet.models.images.ARCHITECTURES`.
        base: law of the latents, "normal" or "learned_normal".
        log_det: estimator of `tf_iresnet.log_det`, or its name.
        seed: of the initial weights and of the training noise; None draws one.
        preprocessing: invertible layers between the data and the first block, such as `Rescale`
            and `Logit`; densities stay in the units of the data.
        tolerance: bound on the Euclidean error of a block's inverse.
        dtype: "float32" (the Keras default) or "float64".
        **changes: fields of `Architecture` that replace the named one's, such as
            `blocks=(4, 4), width=64`.

    Returns:
        A built `ResidualFlow`; its latents are flat, `[batch, height·width·channels]`.

    Raises:
        ValueError: for an unknown name or field, or a shape that can't be squeezed so often.
    """
    chosen = get(architecture, **changes)
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0] // 2)
    builder = _Builder(chosen, np.random.SeedSequence(seed), log_det, tolerance, dtype)
    stages = list(builder.stages(tuple(image_shape)))
    layer = InvertibleSequential(
        [*preprocessing, MultiScale(stages, chosen.factor_out, dtype=dtype)], dtype=dtype
    )
    flow = ResidualFlow(layer, base=base, seed=seed % 2**31, dtype=dtype)
    flow.build((None, *image_shape))
    return flow


def get(architecture: str, **changes: Any) -> Architecture:
    """Returns the architecture of that name, with changes.

    Raises:
        ValueError: for an unknown name or field.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"Expected the name of an architecture: {', '.join(ARCHITECTURES)}. "
            f"Received: architecture={architecture!r}."
        )
    known = {field.name for field in dataclasses.fields(Architecture)}
    if unknown := sorted(set(changes) - known):
        raise ValueError(
            f"Expected fields of an architecture: {', '.join(sorted(known))}. "
            f"Received: {', '.join(unknown)}."
        )
    chosen = dataclasses.replace(ARCHITECTURES[architecture], **changes)
    return dataclasses.replace(chosen, blocks=tuple(chosen.blocks), kernels=tuple(chosen.kernels))


class _Builder:
    """Makes the stages of an image flow, each layer with a seed of its own."""

    def __init__(
        self,
        architecture: Architecture,
        seeds: np.random.SeedSequence,
        log_det: Any,
        tolerance: float,
        dtype: Any,
    ) -> None:
        self.architecture = architecture
        self.seeds = seeds
        self.log_det = log_det
        self.tolerance = tolerance
        self.dtype = dtype

    def stages(self, shape: tuple[int, ...]) -> Iterator[list[InvertibleLayer]]:
        """The layers of each scale, given the shape of an image."""
        a = self.architecture
        for scale, count in enumerate(a.blocks):
            stage: list[InvertibleLayer] = []
            if scale or a.squeeze_first:
                stage.append(Squeeze(dtype=self.dtype))
                shape = (shape[0] // 2, shape[1] // 2, 4 * shape[2])
            if scale == 0:
                stage.append(self._normalized(self._convolutions(shape[-1], first=True)))
                count -= 1
            if count:
                block = self._normalized(self._convolutions(shape[-1]))
                stage.append(Repeated(block, count, dtype=self.dtype))
            stage.append(ActNorm(dtype=self.dtype))
            if scale < len(a.blocks) - 1:
                if a.factor_out:
                    shape = (*shape[:-1], shape[-1] - shape[-1] // 2)
            elif a.tail_blocks:
                size = math.prod(shape)
                tail = self._normalized(self._perceptron(size))
                stage += [
                    Reshape((size,), dtype=self.dtype),
                    Repeated(tail, a.tail_blocks, dtype=self.dtype),
                ]
            yield stage

    def _normalized(self, branch: list[Any]) -> InvertibleLayer:
        block = ResidualBlock(branch, self.log_det, tolerance=self.tolerance, dtype=self.dtype)
        return InvertibleSequential([ActNorm(dtype=self.dtype), block], dtype=self.dtype)

    def _convolutions(self, channels: int, first: bool = False) -> list[Any]:
        a = self.architecture
        if a.growth:
            return [*self._growing(a.growth, 3), self._convolution(channels, 1)]
        widths = [*[a.width] * (len(a.kernels) - 1), channels]
        branch: list[Any] = []
        for index, (width, size) in enumerate(zip(widths, a.kernels, strict=True)):
            before = [] if first and index == 0 else [self._activation()]
            branch += [*before, self._convolution(width, size)]
        return branch

    def _perceptron(self, size: int) -> list[Any]:
        a = self.architecture
        if a.growth:
            return [self._dense(a.tail_width), *self._growing(a.tail_growth), self._dense(size)]
        branch: list[Any] = []
        for units in (a.tail_width, a.tail_width, size):
            branch += [self._activation(), self._dense(units)]
        return branch

    def _growing(self, growth: int, kernel_size: int = 0) -> list[LipschitzConcat]:
        """Densely connected layers, convolutions if they have a kernel's size."""
        a = self.architecture
        # Concatenated activations double what they get.
        units = growth // self._activation().compute_output_shape((None, 1))[-1]

        def linear() -> Any:
            return self._convolution(units, kernel_size) if kernel_size else self._dense(units)

        return [
            LipschitzConcat([linear(), self._activation()], a.coefficient, dtype=self.dtype)
            for _ in range(a.depth)
        ]

    def _activation(self) -> Any:
        return activations.get(self.architecture.activation, self.dtype)

    def _convolution(self, filters: int, size: int) -> SpectralConv2D:
        return SpectralConv2D(filters, size, padding="same", **self._common())

    def _dense(self, units: int) -> SpectralDense:
        return SpectralDense(units, **self._common())

    def _common(self) -> dict[str, Any]:
        seed = int(self.seeds.spawn(1)[0].generate_state(1)[0] // 2)
        return {
            "coefficient": self.architecture.coefficient,
            "kernel_initializer": keras.initializers.GlorotUniform(seed=seed),
            "dtype": self.dtype,
        }
