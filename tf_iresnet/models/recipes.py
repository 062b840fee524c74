"""Whole flows by name, built and ready to use."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from tf_iresnet.layers.actnorm import ActNorm
from tf_iresnet.layers.composition import Inverse, InvertibleSequential
from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.layers.lipschitz_mlp import LipschitzMLP
from tf_iresnet.layers.monotone import MonotoneBlock
from tf_iresnet.layers.repeated import Repeated
from tf_iresnet.layers.residual import BranchBlock, ResidualBlock
from tf_iresnet.layers.spectral import SpectralDense
from tf_iresnet.layers.triangular import TriangularBlock
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.numerics.probes import chosen_seed


def mlp_flow(
    event_size: int,
    num_blocks: int = 10,
    hidden_units: Sequence[int] = (128, 128, 128),
    coefficient: float = 0.97,
    activation: str = "lipswish",
    condition_size: int | None = None,
    base: Any = "normal",
    log_det: Any = "auto",
    seed: int | None = None,
    *,
    block: str = "residual",
    branch: str = "spectral",
    normalization: str = "power",
    act_norm: bool = True,
    initial_gain: float = 1.0,
    preprocessing: Sequence[InvertibleLayer] = (),
    tolerance: float = 1e-5,
    memory: str = "store",
    dtype: Any = None,
) -> ResidualFlow:
    """A built `ResidualFlow` of fully connected blocks, for vectors `[batch, event_size]`.

    Each block has a branch `g`, a perceptron of one of two kinds: "spectral", of layers of norm
    `coefficient`, so that `Lip(g) ≤ coefficient ** (len(hidden_units) + 1)`; or "lipschitz_mlp", a
    `LipschitzMLP` with `Lip(g) ≤ coefficient` by construction. There are four kinds of `block`:

    - "residual": `x + g(x)`, cheap to evaluate, which stretches by less than 2.
    - "monotone": `MonotoneBlock`, solved for in both directions, which stretches and squeezes by
      much more. A step takes three to four times as long, and at equal training time it is the best
      of the four (docs/choices.md). "cpila" is the activation made for it.
    - "implicit": by turns a residual block and the inverse of one (implicit flows, Lu et al.,
      arXiv 2103.09527); the second kind is solved for in the forward direction.
    - "triangular": `TriangularBlock` in both orders by turns. Its log-determinant is exact, and
      costs less than an evaluation of `g` in any number of dimensions; each block is a simpler map.

    Args:
        event_size: number of dimensions.
        num_blocks: number of blocks; even where two kinds take turns.
        hidden_units: widths of the hidden layers of each block; for "triangular", each rounded to a
            multiple of `event_size`.
        coefficient: bound on the spectral norm of every layer, below 1.
        activation: after each hidden layer: "lipswish", "sine", "elu", …
        condition_size: size of a condition vector, or None.
        base: distribution of the latents, a name such as "normal" or "learned_student_t", or an
            object, see `ResidualFlow` and `tf_iresnet.bases`.
        log_det: estimator of `tf_iresnet.log_det`, or its name; of no effect for "triangular".
        seed: of the initial weights and of the training noise; None draws one.
        block: "residual", "monotone", "implicit" or "triangular", see above.
        branch: "spectral", or "lipschitz_mlp", which fits best where data are plenty and overfits
            first where they are few (docs/choices.md); "triangular" blocks have spectral ones.
        normalization: of every layer: "power", or "gram" or "aol", by which the coefficients are
            proven bounds after every training step; see `SpectralDense`.
        act_norm: whether an `ActNorm` goes before each block, or before two that take turns.
        initial_gain: of the last kernel of each branch, above 0 and at most 1; with a small one an
            untrained flow is nearly what `preprocessing` and base are by themselves. Branches of
            another kind than "spectral" with normalization "power" take 1 only.
        preprocessing: invertible layers between the data and the first block, such as
            `Rescale.standardize(mean, deviation)`; densities stay in the units of the data.
        tolerance: bound on the Euclidean error of each block that is solved for.
        memory: what training keeps for the backward pass: "store", or less at the price of time,
            "recompute" or "invert"; see `tf_iresnet.layers.Repeated`.
        dtype: a dtype or policy of Keras, such as "float64" or "mixed_bfloat16"; None for Keras'
            default. What policies do: `layers.serialization.StackedLayer.working_dtype`.
    """
    if event_size < 1 or num_blocks < 1:
        expected = "event_size and num_blocks to be at least 1"
        raise ValueError(f"Expected {expected}. Received: {event_size=}, {num_blocks=}")
    kinds = ("spectral",) if block == "triangular" else ("spectral", "lipschitz_mlp")
    if branch not in kinds:
        expected = f"branch to be one of {', '.join(kinds)} in a flow of {block} blocks"
        raise ValueError(f"Expected {expected}. Received: {branch=}, {block=}")
    if branch == "lipschitz_mlp" and normalization != "power":
        expected = "no normalization with branch='lipschitz_mlp', which needs none"
        raise ValueError(f"Expected {expected}. Received: {normalization=}")
    scalable = takes_gain(block, branch, normalization)
    if not 0 < initial_gain <= 1 or (initial_gain < 1 and not scalable):
        expected = (
            "0 < initial_gain ≤ 1, and 1 unless branches are spectral ones by power iteration"
        )
        found = f"{initial_gain=}, {block=}, {branch=}, {normalization=}"
        raise ValueError(f"Expected {expected}. Received: {found}")
    seed = chosen_seed(seed)
    states = np.random.SeedSequence(seed).generate_state(2 * len(hidden_units) + 2)
    seeds = (int(state // 2) for state in states)
    common: dict[str, Any] = {"condition_size": condition_size, "dtype": dtype}

    def dense(units: int, nonlinearity: str | None, gain: float = 1.0) -> SpectralDense:
        initializer = keras.initializers.Orthogonal(gain, seed=next(seeds))
        options = {"kernel_initializer": initializer, "normalization": normalization} | common
        return SpectralDense(units, coefficient, nonlinearity, **options)

    def with_branch(kind: type[BranchBlock]) -> InvertibleLayer:
        if branch == "lipschitz_mlp":
            g: Any = LipschitzMLP(
                hidden_units, event_size, coefficient, activation, seed=next(seeds), **common
            )
        else:
            hidden = [dense(units, activation) for units in hidden_units]
            g = [*hidden, dense(event_size, None, initial_gain)]
        return kind(g, log_det, tolerance=tolerance, dtype=dtype)

    def triangular(reverse: bool) -> InvertibleLayer:
        units = [max(1, round(width / event_size)) for width in hidden_units]
        return TriangularBlock(
            units, coefficient, activation, reverse, seed=next(seeds),
            dense={"normalization": normalization}, tolerance=tolerance, **common,
        )  # fmt: skip

    # What is repeated: one block, or two that take turns.
    patterns: dict[str, Callable[[], list[InvertibleLayer]]] = {
        "residual": lambda: [with_branch(ResidualBlock)],
        "monotone": lambda: [with_branch(MonotoneBlock)],
        "implicit": lambda: [with_branch(ResidualBlock), Inverse(with_branch(ResidualBlock))],
        "triangular": lambda: [triangular(False), triangular(True)],
    }
    if block not in patterns:
        raise ValueError(f"Expected block to be one of {list(patterns)}. Received: block={block!r}")
    pattern = patterns[block]()
    times, rest = divmod(num_blocks, len(pattern))
    if rest:
        expected = f"an even num_blocks for {block=}, where two kinds take turns"
        raise ValueError(f"Expected {expected}. Received: {num_blocks=}")
    if act_norm:
        pattern = [ActNorm(dtype=dtype), *pattern]
    repeated = pattern[0] if len(pattern) == 1 else InvertibleSequential(pattern, dtype=dtype)
    blocks = Repeated(repeated, times, memory, dtype=dtype)
    layer = InvertibleSequential([*preprocessing, blocks], dtype=dtype)
    flow = ResidualFlow(layer, base, seed % 2**31, dtype=dtype)
    flow.build((None, event_size))
    return flow


def takes_gain(
    block: str = "residual", branch: str = "spectral", normalization: str = "power"
) -> bool:
    """Returns whether `mlp_flow` takes an `initial_gain` below 1 with these arguments."""
    return block != "triangular" and branch == "spectral" and normalization == "power"
