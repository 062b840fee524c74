"""The models that scripts/benchmark.py measures: weights and data that both sides are given."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

COEFFICIENT = 0.97
GAIN = 1.5  # norm of every kernel, beyond the coefficient as after training


@dataclasses.dataclass(frozen=True)
class Perceptrons:
    """`blocks` residual perceptrons `size – width×4 – size` with LipSwish before every layer."""

    size: int
    blocks: int
    width: int = 128
    batch: int = 500
    terms: int = 4  # of the series in training, both sides

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of an example."""
        return (self.size,)

    @property
    def kernel_shapes(self) -> list[tuple[int, ...]]:
        """`(inputs, outputs)` of each layer of a block."""
        widths = [self.size, *[self.width] * 4, self.size]
        return list(itertools.pairwise(widths))

    def kernel(self, random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """A kernel with every singular value at the gain."""
        left, _, right = np.linalg.svd(random.standard_normal(shape), False)
        return GAIN * left @ right


@dataclasses.dataclass(frozen=True)
class Convolutions:
    """`blocks` residual networks of convolutions 3 – 1 – 3 with LipSwish before each of them.

    Zero padding keeps the size of the images; `width` is the number of hidden channels.
    """

    width: int
    blocks: int = 4
    size: int = 16
    channels: int = 12
    batch: int = 16
    terms: int = 4  # of the series in training, both sides

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of an example: rows, columns, channels."""
        return (self.size, self.size, self.channels)

    @property
    def kernel_shapes(self) -> list[tuple[int, ...]]:
        """`(rows, columns, inputs, outputs)` of each layer of a block."""
        hidden = self.width
        return [
            (3, 3, self.channels, hidden),
            (1, 1, hidden, hidden),
            (3, 3, hidden, self.channels),
        ]

    def kernel(self, random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """A normal kernel whose operator on a ring of the images' size has the gain as its norm.

        Zero padding takes the norm a little below that, and leaves it well above the coefficient.
        """
        kernel = random.standard_normal(shape)
        # The circular operator is block diagonal in the frequencies.
        size = 1 if max(shape[:2]) == 1 else self.size  # that of 1×1 is the same at all of them
        symbol = np.fft.fft2(kernel, (size, size), axes=(0, 1))
        return GAIN / np.linalg.norm(symbol, 2, axis=(2, 3)).max() * kernel


Workload = Perceptrons | Convolutions
Layers = Sequence[tuple[np.ndarray, np.ndarray]]

WORKLOADS: dict[str, Workload] = {
    "mlp2": Perceptrons(size=2, blocks=100),
    "mlp16": Perceptrons(size=16, blocks=10),
    "conv64": Convolutions(width=64),
    "conv256": Convolutions(width=256),
}


def weights(workload: Workload) -> list[Layers]:
    """Returns kernel and bias of each layer of each block.

    The biases move the units to where their slopes lie between a half and one.
    """
    random = np.random.default_rng(0)

    def layer(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        kernel = workload.kernel(random, shape)
        return kernel, random.uniform(0, 2, shape[-1])

    return [[layer(shape) for shape in workload.kernel_shapes] for _ in range(workload.blocks)]


def batch(workload: Workload) -> np.ndarray:
    """Returns a batch of standard normal examples, float32 `[batch, *event]`."""
    shape = (workload.batch, *workload.event_shape)
    return np.random.default_rng(1).standard_normal(shape).astype("float32")
