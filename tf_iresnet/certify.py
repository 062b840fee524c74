"""Proofs that the blocks of a model are invertible, and how to enforce that they are."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers.contractive import CertifiedPart, ContractiveLayer, proven_bound
from tf_iresnet.layers.invertible import BlockCopy, InvertibleLayer
from tf_iresnet.layers.residual import BranchBlock
from tf_iresnet.layers.spectral import SpectralLayer
from tf_iresnet.numerics import fixed_point, jacobian

BATCH_SIZE = 100  # examples that are measured at a time


@dataclasses.dataclass(frozen=True)
class LayerCertificate:
    """What is proven about one layer with a coefficient: `estimate ≤ Lip ≤ upper_bound`.

    For a spectral layer, `Lip` is the norm of its normalised linear map; for a convolution, of the
    map at the size it was built for, or the largest at any size. A `LipschitzMLP` is bounded as a
    whole, without an estimate (None). A layer without a constraint has an infinite coefficient.
    """

    name: str
    estimate: float | None
    upper_bound: float
    coefficient: float


@dataclasses.dataclass(frozen=True)
class BlockCertificate:
    """What is proven about one block with a branch `g`.

    Attributes:
        lipschitz: bounds `Lip(g)`: the product of its layers' upper bounds and of the largest
            slopes of its activations; adjacent linear layers are bounded together. NaN for a block
            with a weight that isn't finite.
        iterations: fixed-point steps that suffice to bring a residual of 1 down to a certified
            error of `tolerance`.
        measured: the largest local Lipschitz constant of `g` on data, `≤ Lip(g)`; None without.
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
    """What is proven about the layers and blocks of a model, in order. Print it for a table.

    `not_finite` names the weights that hold NaN or infinity, wherever in the model, with the index
    of the first such entry.
    """

    layers: tuple[LayerCertificate, ...]
    blocks: tuple[BlockCertificate, ...]
    not_finite: tuple[str, ...] = ()

    @property
    def invertible(self) -> bool:
        """Whether the bound of every block is below 1, and every weight is finite."""
        return not self.not_finite and all(block.certified for block in self.blocks)

    def layers_of(self, block: BlockCertificate) -> tuple[LayerCertificate, ...]:
        """The layers with a coefficient in the branch of a block, in order."""
        inside = f"{block.name} / "  # the branch itself, if it is one layer, has the block's name
        return tuple(layer for layer in self.layers if f"{layer.name} / ".startswith(inside))

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**dataclasses.asdict(self), "invertible": self.invertible}

    def __str__(self) -> str:
        rows = [f"{'layer':<36}{'estimate':>10}{'bound':>10}{'coefficient':>13}"]
        for layer in self.layers:
            bounds = f"{layer.upper_bound:>10.5f}{layer.coefficient:>13.5f}"
            rows.append(f"{layer.name:<36}{_number(layer.estimate)}{bounds}")
        on_data = any(block.measured is not None for block in self.blocks)
        title = f"{'on data':>10}" if on_data else ""
        solver = f"{'iterations':>12}{'tolerance':>11}"
        rows += ["", f"{'block':<36}{'Lip(g) ≤':>10}{title}{solver}  certified"]
        for block in self.blocks:
            measured = _number(block.measured) if on_data else ""
            solver = f"{block.iterations:>12.0f}{block.tolerance:>11.0e}"
            verdict = "yes" if block.certified else "NO"
            rows.append(f"{block.name:<36}{block.lipschitz:>10.5f}{measured}{solver}  {verdict}")
        rows += [f"{'':<2}NOT FINITE: {weight}" for weight in self.not_finite]
        bad = sum(not block.certified for block in self.blocks)
        verdict = f"{bad} block(s) are NOT certified" if bad else "every block is invertible"
        if self.not_finite:
            verdict = f"NOT certified, {len(self.not_finite)} weight(s) aren't finite"
        rows += ["", f"{len(self.blocks)} blocks: {verdict}."]
        if on_data:
            rows.append("On data: the largest norm of the Jacobian of g at any of the examples.")
        return "\n".join(rows)


def _number(value: float | None) -> str:
    return f"{'':>10}" if value is None else f"{value:>10.5f}"


def certify(model: keras.layers.Layer, data: Any = None, condition: Any = None) -> Certificate:
    """Bounds the Lipschitz constant of every block's branch from above, in float64.

    The bounds are of the kernels as inference uses them. With `normalization="power"` these are
    divided by an estimate from below, and may exceed their coefficients by its tolerance.

    Args:
        model: a built `ResidualFlow`, Keras model or layer.
        data: examples `[n, *event]` to measure the branches on as well, see `measured_lipschitz`.
        condition: of each of these, `[n, condition_size]`, or None.

    Raises:
        ValueError: for a model without blocks or spectral layers, or one that isn't built; for
            data that `measured_lipschitz` refuses.
    """
    layers: list[LayerCertificate] = []
    blocks: list[BlockCertificate] = []
    for found in _blocks_and_layers(model):
        block = isinstance(found, BlockCopy)
        name = f"block {len(blocks)}" if block else found.name
        # A contractive layer outside of a block rounds its kernel to its compute dtype.
        bound = found.bound if block else found.as_called(found.bind())
        layer = found.block.branch if block else found
        parts = list(layer.certified_parts(bound, name))
        layers += _layer_certificates(parts)
        if block:
            lipschitz, tolerance = proven_bound(parts), found.block.tolerance
            if not all(_is_finite(weight)[found.index].all() for weight in found.block.weights):
                lipschitz = math.nan
            steps = math.inf
            if lipschitz < 1:
                steps = fixed_point.guaranteed_iterations(lipschitz, 1.0, tolerance)
            blocks.append(BlockCertificate(name, lipschitz, steps, tolerance))
    if not layers and not blocks:
        raise ValueError(
            "Expected a model with blocks or spectral layers of tf_iresnet. "
            f"Received: {type(model).__name__} {model.name!r} without any."
        )
    if data is not None:
        largest = measured_lipschitz(model, data, condition).max(axis=1)
        blocks = [
            dataclasses.replace(block, measured=float(constant))
            for block, constant in zip(blocks, largest, strict=True)
        ]
    return Certificate(tuple(layers), tuple(blocks), tuple(_not_finite(model)))


def _is_finite(weight: keras.Variable) -> np.ndarray:
    return np.asarray(tf.math.is_finite(tf.cast(weight.value, tf.float64)))


def _not_finite(model: keras.layers.Layer) -> Iterator[str]:
    for weight in model.weights:
        for index in np.argwhere(~_is_finite(weight))[:1]:
            entry = ", ".join(map(str, index))
            yield f"{weight.path}[{entry}] = {np.asarray(weight.value)[tuple(index)]}"


def _layer_certificates(parts: Iterable[CertifiedPart]) -> Iterator[LayerCertificate]:
    for part in parts:
        yield from _layer_certificates(part.inner)
        if part.coefficient is not None:
            yield LayerCertificate(part.path, part.estimate, part.upper_bound, part.coefficient)


def _blocks_and_layers(model: keras.layers.Layer) -> Iterator[Any]:
    """The blocks in a model, as `BlockCopy`, and contractive layers outside of them, in order."""
    if isinstance(model, (InvertibleLayer, ContractiveLayer)) and not model.built:
        raise ValueError(f"Expected a built model. Received: {model.name!r} without weights.")
    if isinstance(model, InvertibleLayer):
        yield from model.blocks()
    elif isinstance(model, ContractiveLayer):
        yield model
    else:
        for layer in model._flatten_layers(include_self=False, recursive=False):
            yield from _blocks_and_layers(layer)


def measured_lipschitz(model: keras.layers.Layer, data: Any, condition: Any = None) -> np.ndarray:
    """Local Lipschitz constants: how strongly the branch of each block stretches where data are.

    The largest singular value of the Jacobian of `g` at the branch's input, in float64 from
    there on: by an SVD up to `numerics.jacobian.EXACT_UP_TO` dimensions, else by power iteration
    from below. Each is at most `Lip(g)`, and so at most what `certify` proves.

    Args:
        model: a built `ResidualFlow`, `InvertibleLayer` or `keras.Sequential` of such layers.
        data, condition: see `certify`.

    Returns:
        `[blocks, n]`, in the order of `certify(model).blocks`.

    Raises:
        ValueError: for no data, or another model.
    """
    layer = model if isinstance(model, InvertibleLayer) else getattr(model, "layer", model)
    data, condition = (
        None if value is None else tf.convert_to_tensor(value) for value in (data, condition)
    )
    if not len(data) or not _has_blocks(layer):
        raise ValueError(
            "Expected examples, and a model with blocks to measure on them. "
            f"Received: shape={tuple(data.shape)}, {type(model).__name__} {model.name!r}"
        )
    batches = (slice(start, start + BATCH_SIZE) for start in range(0, len(data), BATCH_SIZE))
    constants = [
        _local_constants(layer, data[rows], None if condition is None else condition[rows])
        for rows in batches
    ]
    return np.concatenate(constants, 1)


def _has_blocks(layer: keras.layers.Layer) -> bool:
    return any(isinstance(inner, BranchBlock) for inner in layer._flatten_layers())


def _local_constants(
    layer: keras.layers.Layer, x: tf.Tensor, condition: tf.Tensor | None
) -> np.ndarray:
    constants = []

    def measure(copy: BlockCopy, x: tf.Tensor) -> None:
        exact = tf.nest.map_structure(lambda tensor: tf.cast(tensor, tf.float64), copy.bound)
        constants.append(jacobian.norms(exact, tf.cast(x, tf.float64)))

    for part in layer.layers if isinstance(layer, keras.Sequential) else [layer]:
        if isinstance(part, InvertibleLayer):
            x = part.visit_blocks(x, measure, condition if part.condition_size else None)
        elif _has_blocks(part):
            raise ValueError(
                "Expected a model of tf_iresnet, an InvertibleLayer or a keras.Sequential of "
                f"these. Received: {type(part).__name__} {part.name!r}, whose blocks' inputs "
                "aren't known. Measure on the blocks one by one."
            )
        else:
            x = part(x)
    return np.stack(constants)


def enforce(model: keras.layers.Layer) -> Certificate:
    """Scales down the kernels of blocks that aren't certified, and returns the new certificate.

    Each spectral layer of such a block whose bound exceeds its coefficient has its kernel scaled to
    an upper bound equal to the coefficient. Everything else stays as it is.

    Raises:
        ValueError: for such a block with a layer that has no coefficient; see also `certify`.
    """
    for copy in [found for found in _blocks_and_layers(model) if isinstance(found, BlockCopy)]:
        if proven_bound(copy.block.branch.certified_parts(copy.bound, "")) < 1:
            continue
        for layer in copy.block.branch._flatten_layers():
            if isinstance(layer, SpectralLayer):
                layer.enforce(copy.index)
    return certify(model)
