"""Patches: real pixels, and no pixel of a held-out patch in any other part."""

import numpy as np
import pytest

from tf_iresnet import data
from tf_iresnet.data.images import patches


@pytest.mark.parametrize(("size", "stride"), [(8, 4), (8, 1), (2, 1), (5, 3), (64, 64), (32, 7)])
def test_no_pixel_is_in_two_parts_and_no_held_out_pixel_in_two_patches(size, stride):
    """Cut from a picture whose pixels are their own numbers."""
    places = np.arange(427 * 640).reshape(427, 640, 1)
    parts = patches.cut(places, size, stride)
    train, validation, test = (set(part.ravel().tolist()) for part in parts)
    assert not train & validation and not train & test and not validation & test
    assert len(validation) == parts.validation.size and len(test) == parts.test.size
    for part in parts:  # squares of neighbouring pixels
        corner = part[:, :1, :1]
        offsets = np.arange(size)[:, None] * 640 + np.arange(size)
        np.testing.assert_array_equal(part, corner + offsets[None, :, :, None])


def test_patches_are_found_in_the_photographs():
    photographs = patches.load_photographs()
    assert [p.shape for p in photographs] == [(427, 640, 3)] * 2
    assert all(p.dtype == np.uint8 for p in photographs)
    dataset = data.load("patches", size=16)
    sources = {
        part[i : i + 16, j : j + 16].tobytes()
        for part in (p[:, 128:192] for p in photographs)
        for i in range(0, 427 - 15, 16)
        for j in range(0, 49, 16)
    }
    images = [image.tobytes() for image in np.floor(dataset.test).astype(np.uint8)]
    assert sum(image in sources for image in images) == len(images) // 2  # the band of two


def test_defaults():
    dataset = data.load("patches")
    assert dataset.name == "patches 8x8" and dataset.event_shape == (8, 8, 3)
    assert dataset.levels == 256
    assert (len(dataset.validation), len(dataset.test)) == (848, 1696)
    again = data.load("patches")
    np.testing.assert_array_equal(again.test, dataset.test)
    np.testing.assert_array_equal(again.train_batches(5, 1)(2), dataset.train_batches(5, 1)(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 1}, r"size to be 2 to 64 pixels\. Received: size=1"),
        ({"size": 65}, r"size to be 2 to 64 pixels\. Received: size=65"),
        ({"stride": 0}, r"stride to be 1 to 64 pixels\. Received: stride=0"),
    ],
)
def test_sizes_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("patches", **options)


def test_without_pillow_the_error_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ImportError, match=r"Pillow.*pip install 'tf_iresnet\[examples\]'"):
        data.load("patches")
