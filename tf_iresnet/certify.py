"""What is proven about a model's inverse, and making it so."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers.arrivals import visit
from tf_iresnet.layers.bound_function import BoundFunction
from tf_iresnet.layers.concatenation import LipschitzConcat
from tf_iresnet.layers.contractive import ContractiveLayer, ContractiveSequential
from tf_iresnet.layers.normalized import SpectralLayer
from tf_iresnet.layers.residual import BranchBlock
from tf_iresnet.layers.walk import walk
from tf_iresnet.numerics import fixed_point, jacobian
from tf_iresnet.numerics.linear_map import LinearMap


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
    """Of one block with a branch `g`.

    `lipschitz` bounds `Lip(g)`: the product of its layers' upper bounds and of the largest slopes
    of its activations, layers without one between them taken together. `iterations` of the
    fixed-point iteration are enough to bring a residual of 1 down to a certified error of
    `tolerance`. `measured` is the largest local Lipschitz constant of `g` that data met, from
    below: `measured ≤ Lip(g) ≤ lipschitz`; None without data.
    """

    name: str
    lipschitz: float
    iterations: float
    tolerance: float
    measured: float | None = None

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
        on_data = any(block.measured is not None for block in self.blocks)
        title = f"{'on data':>10}" if on_data else ""
        rows += [
            "",
            f"{'block':<36}{'Lip(g) ≤':>10}{title}{'iterations':>12}{'tolerance':>11}  certified",
        ]
        for block in self.blocks:
            measured = "" if block.measured is None else f"{block.measured:>10.5f}"
            rows.append(
                f"{block.name:<36}{block.lipschitz:>10.5f}{measured}{block.iterations:>12.0f}"
                f"{block.tolerance:>11.0e}  {'yes' if block.certified else 'NO'}"
            )
        bad = sum(not block.certified for block in self.blocks)
        verdict = "every block is invertible" if not bad else f"{bad} block(s) are NOT certified"
        rows += ["", f"{len(self.blocks)} blocks: {verdict}."]
        if on_data:
            rows.append("On data: the largest norm of the Jacobian of g at any of the examples.")
        return "\n".join(rows)


def certify(model: keras.layers.Layer, data: Any = None, condition: Any = None) -> Certificate:
    """Bounds the Lipschitz constant of every block's branch from above, in float64.

    The bounds are of the kernels as inference uses them. By `normalization="power"` these are
    normalised by an estimate from below, and may exceed their coefficients by its tolerance.

    Args:
        model: a built `ResidualFlow`, Keras model or layer.
        data: examples `[n, *event]` to measure the branches on as well, see `measured_lipschitz`.
        condition: of each of these, `[n, condition_size]`, or None.

    Returns:
        A `Certificate`; print it, or ask it `invertible`.

    Raises:
        ValueError: for a model without blocks or spectral layers, or one that isn't built; for data
            as of `measured_lipschitz`.
    """
    layers: list[LayerCertificate] = []
    blocks: list[BlockCertificate] = []
    for layer in walk(model, (BranchBlock, SpectralLayer)):
        if not layer.built:
            raise ValueError(f"Expected a built model. Received: {layer.name!r} without weights.")
        if isinstance(layer, BranchBlock):
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
            "Expected a model with blocks or spectral layers of tf_iresnet. "
            f"Received: {type(model).__name__} {model.name!r} without any."
        )
    if data is not None:
        measured = measured_lipschitz(model, data, condition)
        blocks = [
            dataclasses.replace(block, measured=float(constants.max()))
            for block, constants in zip(blocks, measured, strict=True)
        ]
    return Certificate(tuple(layers), tuple(blocks))


def measured_lipschitz(
    model: keras.layers.Layer, data: Any, condition: Any = None, batch_size: int = 100
) -> np.ndarray:
    """Local Lipschitz constants: how strongly the branch of each block stretches where data are.

    The largest singular value of the Jacobian of `g` at what comes to the branch, in float64 from
    there on: by an SVD up to `numerics.jacobian.EXACT_UP_TO` dimensions, else by power iteration
    from below. None is above `Lip(g)`, so none above what `certify` proves.

    Args:
        model: a built `ResidualFlow`, `InvertibleLayer` or `keras.Sequential` of such layers.
        data: examples `[n, *event]`.
        condition: of each of these, `[n, condition_size]`, or None.
        batch_size: examples at a time.

    Returns:
        `[blocks, n]`, in the order of `certify(model).blocks`.

    Raises:
        ValueError: for no data, or another model.
    """
    from tf_iresnet.models.invertible import InvertibleModel

    layer = model.layer if isinstance(model, InvertibleModel) else model
    data, condition = (
        None if value is None else tf.cast(tf.convert_to_tensor(value), layer.variable_dtype)
        for value in (data, condition)
    )
    if not len(data) or not any(walk(layer, BranchBlock)):
        raise ValueError(
            "Expected examples, and a model with blocks to measure on them. "
            f"Received: shape={tuple(data.shape)}, {type(model).__name__} {model.name!r}"
        )
    batches = [slice(start, start + batch_size) for start in range(0, len(data), batch_size)]
    given = (None if condition is None else condition[rows] for rows in batches)
    parts = [
        _local_constants(layer, data[rows], some) for rows, some in zip(batches, given, strict=True)
    ]
    return np.concatenate(parts, 1)


def _local_constants(
    layer: keras.layers.Layer, x: tf.Tensor, condition: tf.Tensor | None
) -> np.ndarray:
    constants = []

    def met(block: BranchBlock, x: tf.Tensor) -> None:
        g = block.branch.bind(condition)
        parameters = tuple(tf.cast(parameter, tf.float64) for parameter in g.parameters)
        exact = BoundFunction(g.function, parameters)
        constants.append(jacobian.norms(exact.__call__, tf.cast(x, tf.float64)))

    visit(layer, x, condition, met)
    return np.stack(constants)


def enforce(model: keras.layers.Layer) -> Certificate:
    """Scales down the kernels of blocks that aren't certified, so that afterwards they are.

    Each spectral layer of such a block whose bound exceeds its coefficient has its kernel scaled to
    an upper bound equal to the coefficient. Everything else stays as it is.

    Returns:
        The new certificate.

    Raises:
        ValueError: for such a block with a layer that has no coefficient; as of `certify`.
    """
    for block in walk(model, BranchBlock):
        if _bound(block.branch, "", []) < 1:
            continue
        for layer in walk(block.branch, SpectralLayer):
            if layer.normalization != "power":
                continue  # within its coefficient as it is
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
    return _lipschitz(_parts(layer, path, found))


def _parts(
    layer: ContractiveLayer, path: str, found: list[LayerCertificate]
) -> Iterator[tuple[float, LinearMap | None]]:
    """Bounds of the functions that a layer is made of, in order; with the map of a linear one."""
    if isinstance(layer, ContractiveSequential):
        for index, inner in enumerate(layer.layers):
            yield from _parts(inner, f"{path} / layer {index}", found)
    elif isinstance(layer, LipschitzConcat):
        yield layer.bound_given(_bound(layer.layer, path, found)), None
    elif not isinstance(layer, SpectralLayer):
        yield float(layer.lipschitz_bound()), None
    else:
        kernel = layer.normalized_kernel()
        estimate, upper = layer.norm_estimate(kernel), layer.norm_bound(kernel)
        found.append(LayerCertificate(path, estimate, upper, layer.coefficient))
        yield upper, layer.linear_map(kernel)
        if layer.nonlinearity is not None:
            yield float(layer.nonlinearity.lipschitz_bound()), None


def _lipschitz(parts: Iterable[tuple[float, LinearMap | None]]) -> float:
    """The product of the bounds, or what adjacent linear maps are bounded by together if less."""
    total, bound, run = 1.0, 1.0, None
    for upper, linear in parts:
        joined = None if run is None or linear is None else run.then(linear)
        if joined is None:
            total, bound = total * bound, upper
        else:
            bound = min(bound * upper, joined.norm_bound())
        run = joined or linear
    return total * bound
