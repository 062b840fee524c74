"""Whole flows by name, built and ready to use."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_iresnet.layers.invertible import InvertibleLayer, InvertibleSequential
from tf_iresnet.layers.normalization import ActNorm
from tf_iresnet.layers.repeated import Repeated
from tf_iresnet.layers.residual import ResidualBlock
from tf_iresnet.layers.spectral import SpectralDense
from tf_iresnet.models.base import Base
from tf_iresnet.models.flow import ResidualFlow


def mlp_flow(
    event_size: int,
    num_blocks: int = 10,
    hidden_units: Sequence[int] = (128, 128, 128),
    coefficient: float = 0.97,
    activation: str = "lipswish",
    condition_size: int | None = None,
    base: str | Base = "normal",
    log_det: Any = "auto",
    seed: int | None = None,
    *,
    act_norm: bool = True,
    preprocessing: Sequence[InvertibleLayer] = (),
    tolerance: float = 1e-5,
    dtype: Any = None,
) -> ResidualFlow:
    """A flow of fully connected residual blocks for vectors `[batch, event_size]`.

    Each block is `x + g(x)`, `g` a perceptron of spectral layers whose product of norms is at most
    `coefficient ** (len(hidden_units) + 1)`.

    Args:
        event_size: number of dimensions.
        num_blocks: number of residual blocks.
        hidden_units: widths of the hidden layers of each block.
        coefficient: bound on the spectral norm of every layer, below 1.
        activation: after each hidden layer: "lipswish", "sine", "elu", …
        condition_size: size of a condition vector, or None.
        base: law of the latents, "normal" or "learned_normal".
        log_det: estimator of `tf_iresnet.log_det`, or its name.
        seed: of the initial weights and of the training noise; None draws one.
        act_norm: whether an `ActNorm` goes before each block.
        preprocessing: invertible layers between the data and the first block, such as
            `Rescale.standardize(mean, deviation)`; densities stay in the units of the data.
        tolerance: bound on the Euclidean error of a block's inverse.
        dtype: "float32" (the Keras default) or "float64".

    Returns:
        A built `ResidualFlow`.
    """
    if event_size < 1 or num_blocks < 1:
        raise ValueError(
            "Expected event_size and num_blocks to be at least 1. "
            f"Received: event_size={event_size}, num_blocks={num_blocks}"
        )
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0] // 2)
    seeds = iter(np.random.SeedSequence(seed).generate_state(len(hidden_units) + 1))

    def dense(units: int, nonlinearity: str | None) -> SpectralDense:
        return SpectralDense(
            units,
            coefficient,
            activation=nonlinearity,
            condition_size=condition_size,
            kernel_initializer=keras.initializers.Orthogonal(seed=int(next(seeds) // 2)),
            dtype=dtype,
        )

    branch = [dense(units, activation) for units in hidden_units] + [dense(event_size, None)]
    block: InvertibleLayer = ResidualBlock(branch, log_det, tolerance=tolerance, dtype=dtype)
    if act_norm:
        block = InvertibleSequential([ActNorm(dtype=dtype), block], dtype=dtype)
    blocks = Repeated(block, num_blocks, dtype=dtype)
    layer = InvertibleSequential([*preprocessing, blocks], dtype=dtype)
    flow = ResidualFlow(layer, base=base, seed=seed % 2**31, dtype=dtype)
    flow.build((None, event_size))
    return flow
