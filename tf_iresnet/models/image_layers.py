"""From an architecture to the layers of each scale."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
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


@dataclasses.dataclass
class ImageLayers:
    """Makes the layers of a network, each with its own seed; for the arguments see `image_flow`."""

    architecture: Architecture
    seed: int
    log_det: Any
    tolerance: float
    memory: str
    dtype: Any

    def __post_init__(self) -> None:
        self._seeds = np.random.SeedSequence(self.seed)

    def stages(self, shape: tuple[int, ...]) -> Iterator[list[InvertibleLayer]]:
        """The layers of each scale, given the shape of an image."""
        if len(shape) != 3 or min(shape) < 1:
            expected = "image_shape to be (height, width, channels)"
            raise ValueError(f"Expected {expected}. Received: {shape}. Gray images have 1 channel.")
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
                stage.append(Repeated(block, count, self.memory, dtype=self.dtype))
            stage += self._act_norm()
            if scale < len(a.blocks) - 1:
                if a.factor_out:
                    shape = (*shape[:-1], shape[-1] - shape[-1] // 2)
            elif a.tail_blocks:
                size = math.prod(shape)
                tail = self._normalized(self._perceptron(size))
                repeated = Repeated(tail, a.tail_blocks, self.memory, dtype=self.dtype)
                stage += [Reshape((size,), dtype=self.dtype), repeated]
            yield stage

    def _normalized(self, branch: list[Any]) -> InvertibleLayer:
        common = {"log_det": self.log_det, "tolerance": self.tolerance, "dtype": self.dtype}
        if self.architecture.block == "monotone":
            block: BranchBlock = MonotoneBlock(branch, **common)
        else:
            constrained = self.architecture.coefficient is not None
            block = ResidualBlock(branch, constrained=constrained, **common)
        return InvertibleSequential([*self._act_norm(), block], dtype=self.dtype)

    def _act_norm(self) -> list[InvertibleLayer]:
        return [ActNorm(dtype=self.dtype)] if self.architecture.act_norm else []

    def _convolutions(self, channels: int, width: int, first: bool = False) -> list[Any]:
        a = self.architecture
        if a.growth:
            return [*self._growing(a.growth, 3), self._linear(channels, 1)]
        filters = [*[width] * (len(a.kernels) - 1), channels]
        return self._preactivated(map(self._linear, filters, a.kernels), first)

    def _perceptron(self, size: int) -> list[Any]:
        a = self.architecture
        if a.growth:
            return [self._linear(a.tail_width), *self._growing(a.tail_growth), self._linear(size)]
        return self._preactivated(map(self._linear, (a.tail_width, a.tail_width, size)))

    def _preactivated(self, linear: Iterable[Any], first: bool = False) -> list[Any]:
        """An activation before each linear layer, but for the very `first` one of a network."""
        branch: list[Any] = []
        for layer in linear:
            branch += [layer] if first and not branch else [self._activation(), layer]
        return branch

    def _growing(self, growth: int, kernel_size: int = 0) -> list[LipschitzConcat]:
        """Densely connected layers (i-DenseNet)."""
        a = self.architecture
        # Concatenated activations double what they get.
        units = growth // self._activation().compute_output_shape((None, 1))[-1]
        # Both weights are 1 to begin with where nothing is to be bounded.
        norm = math.sqrt(2) if a.coefficient is None else a.coefficient
        layers = []
        for _ in range(a.depth):
            layer = [self._linear(units, kernel_size), self._activation()]
            layers.append(LipschitzConcat(layer, norm, dtype=self.dtype))
        return layers

    def _activation(self) -> Any:
        return activations.get(self.architecture.activation, self.dtype)

    def _linear(self, units: int, kernel_size: int = 0) -> Any:
        """A fully connected layer, or a convolution if it has a kernel's size."""
        seed = int(self._seeds.spawn(1)[0].generate_state(1)[0] // 2)
        options: dict[str, Any] = {
            "coefficient": self.architecture.coefficient,
            "normalization": self.architecture.normalization,
            "kernel_initializer": keras.initializers.GlorotUniform(seed=seed),
            "dtype": self.dtype,
        }
        if not kernel_size:
            return SpectralDense(units, **options)
        return SpectralConv2D(units, kernel_size, padding="same", **options)
