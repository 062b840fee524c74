"""What is proven about a model's inverse, and making it so."""

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from tf_iresnet.layers.concatenation import LipschitzConcat
from tf_iresnet.layers.contractive import ContractiveLayer, ContractiveSequential
from tf_iresnet.layers.normalized import SpectralLayer
from tf_iresnet.layers.residual import ResidualBlock
from tf_iresnet.layers.walk import walk
from tf_iresnet.numerics import fixed_point


@dataclasses.dataclass(frozen=True)
class LayerCertificate:
    """Of one spectral layer's normalised linear map: `estimate ≤ ‖W̃‖₂ ≤ upper_bound`.

    A convolution's is its operator at the size it was built for; without one, for every size.
    """

    name: str
    estimate: float
    upper_bound: float
    coefficient: float  # infinite for a layer without a constraint


@dataclasses.dataclass(frozen=True)
class BlockCertificate:
    """Of one residual block.

    `lipschitz` bounds `Lip(g)`: the product of its layers' upper bounds. `iterations` of the
    fixed-point iteration are enough to bring a residual of 1 down to a certified error of
    `tolerance`.
    """

    name: str
    lipschitz: float
    iterations: float
    tolerance: float

    @property
    def certified(self) -> bool:
        return self.lipschitz < 1


@dataclasses.dataclass(frozen=True)
class Certificate:
    """The layers and blocks of a model, in order, and whether every block is invertible."""

    layers: tuple[LayerCertificate, ...]
    blocks: tuple[BlockCertificate, ...]

    @property
    def invertible(self) -> bool:
        """Whether the bound of every block is below 1."""
        return all(block.certified for block in self.blocks)

    def layers_of(self, block: BlockCertificate) -> tuple[LayerCertificate, ...]:
        """The spectral layers in the branch of a block, in order."""
        return tuple(layer for layer in self.layers if layer.name.startswith(f"{block.name} / "))

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**dataclasses.asdict(self), "invertible": self.invertible}

    def __str__(self) -> str:
        rows = [f"{'layer':<36}{'estimate':>10}{'bound':>10}{'coefficient':>13}"]
        rows += [
            f"{layer.name:<36}{layer.estimate:>10.5f}{layer.upper_bound:>10.5f}"
            f"{layer.coefficient:>13.5f}"
            for layer in self.layers
        ]
        rows += ["", f"{'block':<36}{'Lip(g) ≤':>10}{'iterations':>12}{'tolerance':>11}  certified"]
        rows += [
            f"{block.name:<36}{block.lipschitz:>10.5f}{block.iterations:>12.0f}"
            f"{block.tolerance:>11.0e}  {'yes' if block.certified else 'NO'}"
            for block in self.blocks
        ]
        bad = sum(not block.certified for block in self.blocks)
        verdict = "every block is invertible" if not bad else f"{bad} block(s) are NOT certified"
        return "\n".join([*rows, "", f"{len(self.blocks)} blocks: {verdict}."])


def certify(model: keras.layers.Layer) -> Certificate:
    """Bounds the Lipschitz constant of every residual block from above, in float64.

    The bounds are of the kernels as inference uses them: normalised by the model's own estimate,
    which comes from below.

    Args:
        model: a built `ResidualFlow`, Keras model or layer.

    Returns:
        A `Certificate`; print it, or ask it `invertible`.

    Raises:
        ValueError: for a model without residual blocks or spectral layers, or one that isn't built.
    """
    layers: list[LayerCertificate] = []
    blocks: list[BlockCertificate] = []
    for layer in walk(model, (ResidualBlock, SpectralLayer)):
        if not layer.built:
            raise ValueError(f"Expected a built model. Received: {layer.name!r} without weights.")
        if isinstance(layer, ResidualBlock):
            name = f"block {len(blocks)}"
            bound = _bound(layer.branch, name, layers)
            steps = (
                fixed_point.guaranteed_iterations(bound, 1.0, layer.tolerance)
                if bound < 1
                else math.inf
            )
            blocks.append(BlockCertificate(name, bound, steps, layer.tolerance))
        else:
            _bound(layer, layer.name, layers)
    if not layers:
        raise ValueError(
            "Expected a model with ResidualBlock or Spectral… layers. "
            f"Received: {type(model).__name__} {model.name!r} without any."
        )
    return Certificate(tuple(layers), tuple(blocks))


def enforce(model: keras.layers.Layer) -> Certificate:
    """Scales down the kernels of blocks that aren't certified, so that afterwards they are.

    Each spectral layer of such a block whose bound exceeds its coefficient has its kernel scaled to
    an upper bound equal to the coefficient. Everything else stays as it is.

    Returns:
        The new certificate.

    Raises:
        ValueError: for such a block with a layer that has no coefficient; as of `certify`.
    """
    for block in walk(model, ResidualBlock):
        if _bound(block.branch, "", []) < 1:
            continue
        for layer in walk(block.branch, SpectralLayer):
            if math.isinf(layer.coefficient):
                raise ValueError(
                    "Expected layers with a coefficient to bring them to. Received: "
                    f"{layer.name!r} with coefficient=None. Train it with one."
                )
            bound = layer.norm_bound(layer.kernel.value)
            if bound > layer.coefficient:
                # A hair below: storing in the layer's dtype may round up.
                margin = 1 - 4 * np.finfo(layer.kernel.dtype).eps
                kernel = np.asarray(layer.kernel.value, np.float64)
                layer.kernel.assign(kernel * (layer.coefficient / bound * margin))
                layer.store_norm()
    return certify(model)


def _bound(layer: ContractiveLayer, path: str, found: list[LayerCertificate]) -> float:
    """Proven Lipschitz bound of a contractive layer; the spectral layers met go into `found`."""
    if isinstance(layer, ContractiveSequential):
        return math.prod(
            _bound(inner, f"{path} / layer {index}", found)
            for index, inner in enumerate(layer.layers)
        )
    if isinstance(layer, LipschitzConcat):
        return layer.bound_given(_bound(layer.layer, path, found))
    if not isinstance(layer, SpectralLayer):
        return float(layer.lipschitz_bound())
    kernel = layer.normalized_kernel()
    estimate, upper = layer.norm_estimate(kernel), layer.norm_bound(kernel)
    found.append(LayerCertificate(path, estimate, upper, layer.coefficient))
    slope = 1.0 if layer.nonlinearity is None else float(layer.nonlinearity.lipschitz_bound())
    return upper * slope
