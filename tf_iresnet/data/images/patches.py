"""Small colour patches of the two photographs that come with scikit-learn.

A temple (`china.jpg`) and a dahlia (`flower.jpg`) of 427×640 pixels each, see
`sklearn.datasets.load_sample_images`.
"""

import numpy as np

from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.images.grey_levels import image_dataset

BAND = 64  # columns of a region
# The use of the bands from the left: each photograph's parts are spread over it, so that the
# held-out patches show what the training ones do, and none of them crosses from one into another.
BANDS = (
    "train",
    "train",
    "test",
    "train",
    "train",
    "validation",
    "train",
    "train",
    "test",
    "train",
)
_ORDER_SEED = 0


def load_patches(
    size: int = 8, stride: int | None = None, flip: bool = False, pad_crop: int = 0
) -> Dataset:
    """Returns square colour patches [size, size, 3] of 256 levels, the same ones for everyone.

    Training, validation and test patches come from different regions: bands of 64 columns of both
    photographs, of which 7, 1 and 2 in 10 are theirs. No pixel is in two of the three parts.
    Held-out patches don't overlap one another either, which a standard error takes for granted.

    Args:
        size: pixels a side, 2 to 64.
        stride: pixels from one training patch to the next, down and across; half the size if None.
        flip: whether training patches are mirrored at random.
        pad_crop: pixels by which training patches are shifted at random, 0 for none.

    Raises:
        ImportError: without scikit-learn or Pillow.
        ValueError: for a size or stride out of range.
    """
    stride = max(1, size // 2) if stride is None else stride
    if not 2 <= size <= BAND:
        raise ValueError(f"Expected size to be 2 to {BAND} pixels. Received: size={size}.")
    if not 1 <= stride <= BAND:
        raise ValueError(f"Expected stride to be 1 to {BAND} pixels. Received: stride={stride}.")
    cuts = [cut(photograph, size, stride) for photograph in load_photographs()]
    parts = {name: np.concatenate([parts[name] for parts in cuts]) for name in cuts[0]}
    for name in ("validation", "test"):  # the first few of them should show a bit of everything
        order = np.random.RandomState(_ORDER_SEED).permutation(len(parts[name]))
        parts[name] = parts[name][order]
    return image_dataset(f"patches {size}x{size}", parts, flip=flip, pad_crop=pad_crop)


def load_photographs() -> list[np.ndarray]:
    """Returns the two photographs, each uint8 [427, 640, 3].

    Raises:
        ImportError: without scikit-learn or Pillow.
    """
    try:
        import sklearn.datasets

        return list(sklearn.datasets.load_sample_images().images)
    except ImportError as error:
        raise ImportError(
            "Expected scikit-learn, which the photographs come with, and Pillow, which reads them. "
            "Install them with: pip install 'tf_iresnet[examples]'"
        ) from error


def cut(photograph: np.ndarray, size: int, stride: int) -> dict[str, np.ndarray]:
    """Returns the patches [n, size, size, channels] of each part of a photograph.

    Args:
        photograph: [height, width, channels], whose columns are shared out by `BANDS`.
        size: pixels a side.
        stride: between training patches; held-out ones lie side by side.
    """
    found: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for index, part in enumerate(BANDS):
        band = photograph[:, index * BAND : (index + 1) * BAND]
        step = stride if part == "train" else size
        windows = np.lib.stride_tricks.sliding_window_view(band, (size, size), axis=(0, 1))
        # [rows, columns, channels, size, size]
        patches = np.moveaxis(windows[::step, ::step], 2, -1)
        found[part].append(patches.reshape(-1, size, size, photograph.shape[-1]))
    return {part: np.concatenate(patches) for part, patches in found.items()}
