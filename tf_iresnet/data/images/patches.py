"""Colour patches of scikit-learn's two photographs: a temple and a dahlia, 427×640 pixels each."""

import numpy as np

from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.errors import optional_import
from tf_iresnet.data.images.image_dataset import image_dataset
from tf_iresnet.data.splits import Split, random_parts

BAND, BANDS = 64, 10  # width of a band, number of bands
# Bands of no training patches, spread so that held-out patches show what training patches do.
HELD_OUT = {2: "test", 5: "validation", 8: "test"}


def load_patches(
    size: int = 8, stride: int | None = None, flip: bool = False, pad_crop: int = 0
) -> Dataset:
    """Returns square colour patches [size, size, 3] of 256 levels, the same ones for everyone.

    Training, validation and test patches come from 7, 1 and 2 of 10 bands of 64 columns of both
    photographs, so that no pixel is in two of the three parts. Held-out patches don't overlap one
    another either, which a standard error takes for granted.

    Args:
        size: pixels a side, 2 to 64.
        stride: pixels from one training patch to the next, down and across; half the size if None.
        flip, pad_crop: see `image_dataset`.
    """
    stride = max(1, size // 2) if stride is None else stride
    if not 2 <= size <= BAND:
        raise ValueError(f"Expected size to be 2 to {BAND} pixels. Received: size={size}.")
    if not 1 <= stride <= BAND:
        raise ValueError(f"Expected stride to be 1 to {BAND} pixels. Received: stride={stride}.")
    cuts = [cut(photograph, size, stride) for photograph in load_photographs()]
    parts = Split(*map(np.concatenate, zip(*cuts, strict=True)))
    # In random order, the first few held-out patches are a fair sample.
    shuffled = [x[random_parts(len(x), [])[0]] for x in (parts.validation, parts.test)]
    parts = Split(parts.train, *shuffled)
    return image_dataset(f"patches {size}x{size}", parts, flip=flip, pad_crop=pad_crop)


def load_photographs() -> list[np.ndarray]:
    """Returns the two photographs, each uint8 [427, 640, 3]."""
    with optional_import("scikit-learn, which the photographs come with, and Pillow", "reads them"):
        import sklearn.datasets

        return list(sklearn.datasets.load_sample_images().images)


def cut(photograph: np.ndarray, size: int, stride: int) -> Split:
    """Returns the patches [n, size, size, channels] of a photograph [height, width, channels].

    `stride` is that of training patches; held-out ones lie side by side.
    """
    found: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for index in range(BANDS):
        part = HELD_OUT.get(index, "train")
        band = photograph[:, index * BAND : (index + 1) * BAND]
        step = stride if part == "train" else size
        windows = np.lib.stride_tricks.sliding_window_view(band, (size, size), axis=(0, 1))
        patches = np.moveaxis(windows[::step, ::step], 2, -1)  # channels last
        found[part].append(patches.reshape(-1, size, size, photograph.shape[-1]))
    return Split(**{part: np.concatenate(patches) for part, patches in found.items()})
