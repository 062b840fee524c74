"""Flips and crops: what NumPy makes of the same images, all places alike, functions of the step."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tf_iresnet.data.images.image_dataset import augmentation, flip, pad_crop

IMAGES = np.random.default_rng(0).integers(1, 256, size=(400, 5, 6, 3), dtype=np.uint8)


def crops(image, pad):
    """All crops of one padded image, [(2 pad + 1)², height, width, channels]."""
    height, width, _ = image.shape
    padded = np.pad(image, [(pad, pad), (pad, pad), (0, 0)])
    places = range(2 * pad + 1)
    return np.stack([padded[i : i + height, j : j + width] for i in places for j in places])


def test_half_of_the_images_are_mirrored_left_to_right():
    flipped = flip(IMAGES, seed=1, step=2).numpy()
    same = (flipped == IMAGES).all(axis=(1, 2, 3))
    mirrored = (flipped == IMAGES[:, :, ::-1]).all(axis=(1, 2, 3))
    assert np.all(same ^ mirrored)
    assert scipy.stats.binomtest(int(mirrored.sum()), len(IMAGES)).pvalue > 1e-3


def test_crops_are_those_of_the_padded_image_at_every_place_alike():
    moved = pad_crop(IMAGES, 1, seed=1, step=2).numpy()
    counts = np.zeros(9, int)
    for image, result in zip(IMAGES, moved, strict=True):
        equal = (crops(image, 1) == result).all(axis=(1, 2, 3))
        assert equal.sum() == 1
        counts += equal
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_seed_and_step_decide_in_every_mode(jit_compile):
    augment = augmentation(True, 2)
    compiled = tf.function(lambda step: augment(IMAGES, 3, step), jit_compile=jit_compile)
    images = tf.constant(IMAGES)
    np.testing.assert_array_equal(compiled(tf.constant(5)), augment(images, 3, 5))
    assert augment(images, 3, 5).shape == IMAGES.shape
    for seed, step in [(3, 6), (4, 5)]:
        other = augment(images, seed, step).numpy()
        assert np.mean((other == augment(images, 3, 5).numpy()).all(axis=(1, 2, 3))) < 0.2


def test_flip_and_crop_are_independent():
    """Of 400 images those that are mirrored aren't shifted differently from the others."""
    flips = (flip(IMAGES, 0, 0).numpy() != IMAGES).any(axis=(1, 2, 3))
    up = (pad_crop(IMAGES, 1, 0, 0).numpy()[:, 0] == 0).all(axis=(1, 2))
    table = np.histogram2d(flips, up, bins=2)[0]
    assert scipy.stats.chi2_contingency(table).pvalue > 1e-3


def test_nothing_asked_for_is_nothing_done():
    assert augmentation(False, 0) is None


@pytest.mark.parametrize("pad", [-1, 1.5, True])
def test_a_pad_is_a_number_of_pixels(pad):
    with pytest.raises(ValueError, match=f"pad_crop to be a number of pixels.*pad_crop={pad}"):
        augmentation(False, pad)
