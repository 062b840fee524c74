"""Random matrices in NumPy."""

import numpy as np


def with_spectrum(rows, columns, spectrum, seed=0):
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(rows, rows)))[0]
    right = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    return left[:, : len(spectrum)] * spectrum @ right[:, : len(spectrum)].T


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def random_for(kernel, vectors=4):
    """What the vectors of a kernel's outputs are searched among."""
    return gaussian(vectors, kernel.shape[-1], seed=5).astype(kernel.dtype)
