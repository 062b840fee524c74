"""Scikit-learn's handwritten digits: 1,797 images of 8×8 pixels with 17 levels, 0 to 16.

A data set that is real, comes with a package and is small enough to learn in minutes.
"""

from typing import Any

import numpy as np

from tf_iresnet.data.dataset import Labels

LEVELS = 17
IMAGE_SHAPE = (8, 8)
SIZES = {"train": 1257, "validation": 180, "test": 360}
_SPLIT_SEED = 0


def load_digits() -> dict[str, np.ndarray]:
    """Returns the levels of the three splits of `SIZES`, each uint8 [n, 64].

    The split is the same for everyone: consecutive parts of NumPy's `RandomState(0)` permutation,
    whose stream is frozen for good (NEP 19).

    Raises:
        ImportError: without scikit-learn.
    """
    return _split(_bunch().data.astype(np.uint8))


def load_labels() -> Labels:
    """Returns which digit each image of `load_digits` shows.

    Raises:
        ImportError: without scikit-learn.
    """
    return Labels(**_split(_bunch().target.astype(np.int32)), classes=tuple("0123456789"))


def _bunch() -> Any:
    try:
        import sklearn.datasets
    except ImportError as error:
        raise ImportError(
            "Expected scikit-learn, which the digits come with. "
            "Install it with: pip install 'tf_iresnet[examples]'"
        ) from error
    return sklearn.datasets.load_digits()


def _split(rows: np.ndarray) -> dict[str, np.ndarray]:
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(rows))
    ends = np.cumsum(list(SIZES.values()))
    return dict(zip(SIZES, np.split(rows[order], ends[:-1]), strict=True))
