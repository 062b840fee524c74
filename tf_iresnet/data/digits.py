"""Scikit-learn's handwritten digits: 1,797 images of 8×8 pixels with 17 levels, 0 to 16.

A data set that is real, comes with a package and is small enough to learn in minutes.
"""

import numpy as np

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
    try:
        import sklearn.datasets
    except ImportError as error:
        raise ImportError(
            "Expected scikit-learn, which the digits come with. "
            "Install it with: pip install 'tf_iresnet[examples]'"
        ) from error
    levels = sklearn.datasets.load_digits().data.astype(np.uint8)
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(levels))
    ends = np.cumsum(list(SIZES.values()))
    return dict(zip(SIZES, np.split(levels[order], ends[:-1]), strict=True))
