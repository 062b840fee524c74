"""From an architecture to the layers of each scale."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tf_iresnet.layers import activations
from tf_iresnet.layers.actnorm import ActNorm
from tf_iresnet.layers.composition import InvertibleSequential
from tf_iresnet.layers.concatenation import LipschitzConcat
from tf_iresnet.layers.convolution import SpectralConv2D
from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.layers.monotone import MonotoneBlock
from tf_iresnet.layers.repeated import Repeated
from tf_iresnet.layers.reshaping import ChannelPad, Reshape, Squeeze
from tf_iresnet.layers.residual import BranchBlock, ResidualBlock
from tf_iresnet.layers.spectral import SpectralDense
from tf_iresnet.models.architectures import Architecture


class ImageLayers:
    """Makes the stages of a network, each layer with a seed of its own.

    Args:
        architecture: what they are made of.
        seed: of the initial weights.
        log_det: of the blocks: an estimator of `tf_iresnet.log_det`, or its name.
        tolerance: bound on the Euclidean error of a block's inverse.
        dtype: "float32", "float64", or None for the Keras default.
    """

    def __init__(
        self,
        architecture: Architecture,
        seed: int,
        log_det: Any,
        tolerance: float,
        dtype: Any,
    ) -> None:
        self.architecture = architecture
        self.seeds = np.random.SeedSequence(seed)
        self.log_det = log_det
        self.tolerance = tolerance
        self.dtype = dtype

    def stages(self, shape: tuple[int, ...]) -> Iterator[list[InvertibleLayer]]:
        """The layers of each scale, given the shape of an image."""
        a = self.architecture
        for scale, (count, width) in enumerate(zip(a.blocks, a.widths, strict=True)):
            stage: list[InvertibleLayer] = []
            if scale or a.squeeze_first:
                stage.append(Squeeze(dtype=self.dtype))
                shape = (shape[0] // 2, shape[1] // 2, 4 * shape[2])
            if scale == 0:
                if a.pad_channels:
                    stage.append(ChannelPad(a.pad_channels, dtype=self.dtype))
                    shape = (*shape[:-1], shape[-1] + a.pad_channels)
                stage.append(self._normalized(self._convolutions(shape[-1], width, first=True)))
                count -= 1
            if count:
                block = self._normalized(self._convolutions(shape[-1], width))
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
        common = {"log_det": self.log_det, "tolerance": self.tolerance, "dtype": self.dtype}
        if self.architecture.block == "monotone":
            block: BranchBlock = MonotoneBlock(branch, **common)
        else:
            constrained = self.architecture.coefficient is not None
            block = ResidualBlock(branch, constrained=constrained, **common)
        return InvertibleSequential([ActNorm(dtype=self.dtype), block], dtype=self.dtype)

    def _convolutions(self, channels: int, width: int, first: bool = False) -> list[Any]:
        a = self.architecture
        if a.growth:
            return [*self._growing(a.growth, 3), self._convolution(channels, 1)]
        filters = [*[width] * (len(a.kernels) - 1), channels]
        branch: list[Any] = []
        for index, (number, size) in enumerate(zip(filters, a.kernels, strict=True)):
            before = [] if first and index == 0 else [self._activation()]
            branch += [*before, self._convolution(number, size)]
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
        # Both weights are 1 to begin with where nothing is to be bounded.
        norm = math.sqrt(2) if a.coefficient is None else a.coefficient

        def linear() -> Any:
            return self._convolution(units, kernel_size) if kernel_size else self._dense(units)

        return [
            LipschitzConcat([linear(), self._activation()], norm, dtype=self.dtype)
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
            "normalization": self.architecture.normalization,
            "kernel_initializer": keras.initializers.GlorotUniform(seed=seed),
            "dtype": self.dtype,
        }
