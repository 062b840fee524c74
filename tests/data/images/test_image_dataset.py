"""Levels as a data set: exact statistics, labels beside the images they belong to."""

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.data import digits
from tf_iresnet.data.images.image_dataset import image_dataset
from tf_iresnet.data.splits import Split

RNG = np.random.default_rng(0)
PARTS = Split(*(RNG.integers(0, 256, (n, 4, 5, 3), np.uint8) for n in (2500, 20, 30)))


def test_statistics_are_those_of_levels_with_noise():
    dataset = image_dataset("noise", PARTS)
    levels = PARTS.train.astype(np.float64)
    np.testing.assert_allclose(dataset.shift, levels.mean(axis=0) + 0.5, rtol=1e-6)
    np.testing.assert_allclose(dataset.scale, np.sqrt(levels.var(axis=0) + 1 / 12), rtol=1e-6)


def test_constant_pixels_have_the_noise_for_a_scale():
    dataset = image_dataset("black", PARTS.map(np.zeros_like))
    np.testing.assert_allclose(dataset.scale, np.sqrt(1 / 12), rtol=1e-6)


def test_shapes_names_and_levels():
    dataset = image_dataset("noise", PARTS)
    assert dataset.event_shape == dataset.image_shape == dataset.bin_width.shape == (4, 5, 3)
    assert dataset.levels == 256 and dataset.bits_per_dim and dataset.event_size == 60
    assert dataset.columns[:4] == ("pixel 0,0,0", "pixel 0,0,1", "pixel 0,0,2", "pixel 0,1,0")
    assert dataset.labels is None and dataset.labelled_batches is None and dataset.classes == ()
    for name in ("validation", "test"):
        values = getattr(dataset, name)
        assert values.dtype == np.float32 and values.min() >= 0 and values.max() < 256
        np.testing.assert_array_equal(np.floor(values), getattr(PARTS, name))
    grey = image_dataset("grey", PARTS.map(lambda x: x[..., :1]))
    assert grey.columns[:2] == ("pixel 0,0", "pixel 0,1") and grey.event_shape == (4, 5, 1)


def test_training_images_are_augmented_and_the_others_are_not():
    """A crop padded by 3 of images 4 high shows zeros; half of the images are mirrored."""
    plain = PARTS.map(lambda x: np.maximum(x, 1))
    cropped = image_dataset("noise", plain, pad_crop=3).train_batches(500, 0)(0).numpy()
    assert np.mean(cropped < 1) > 0.3
    dataset = image_dataset("noise", plain, flip=True, pad_crop=3)
    assert dataset.test.min() >= 1 and dataset.validation.min() >= 1

    flipped = image_dataset("noise", plain, flip=True).train_batches(500, 0)(0).numpy()
    straight = image_dataset("noise", plain).train_batches(500, 0)(0).numpy()
    same = (np.floor(flipped) == np.floor(straight)).all(axis=(1, 2, 3))
    mirrored = (np.floor(flipped) == np.floor(straight)[:, :, ::-1]).all(axis=(1, 2, 3))
    assert np.all(same ^ mirrored) and 180 < mirrored.sum() < 320


def test_labels_are_those_of_the_images_in_any_order():
    counts = PARTS.map(lambda x: np.arange(len(x), dtype=np.int32))
    dataset = image_dataset("noise", PARTS, labels=counts, classes=("a", "b"))
    steps = tf.data.Dataset.range(7, 9).map(dataset.labelled_batches(400, seed=3))
    plain = dataset.train_batches(400, seed=3)
    for step, (x, label) in zip((7, 8), steps.as_numpy_iterator(), strict=True):
        assert label.dtype == np.int32
        np.testing.assert_array_equal(np.floor(x), PARTS.train[label])
        np.testing.assert_array_equal(x, plain(step))


def test_digits_image_is_the_flat_digits_with_another_shape():
    image, flat = data.load("digits_image"), data.load("digits")
    assert image.event_shape == (8, 8, 1) and image.levels == 17
    assert flat.image_shape == (8, 8)
    for name in ("validation", "test"):
        ours, theirs = (np.floor(getattr(d, name)) for d in (image, flat))
        np.testing.assert_array_equal(ours.reshape(theirs.shape), theirs)
    np.testing.assert_array_equal(image.columns, flat.columns)
    x, label = image.labelled_batches(30, 0)(0)
    train = digits.load_levels().train
    images = {tuple(i): j for i, j in zip(train, image.labels.train, strict=True)}
    assert [images[tuple(i)] for i in np.floor(x).reshape(30, 64).astype(int)] == list(label)
    assert image.classes == flat.classes == tuple("0123456789")
    assert {len(image.labels.train), len(image.labels.validation), len(image.labels.test)} == set(
        digits.SIZES.values()
    )


@pytest.mark.parametrize("name", ["digits_image", "patches"])
def test_options_reach_every_set_of_images(name):
    with pytest.raises(ValueError, match=r"less than the images' \d+ pixels.*pad_crop=100"):
        data.load(name, pad_crop=100)
    with pytest.raises(ValueError, match="pad_crop=-1"):
        data.load(name, pad_crop=-1)
    assert data.load(name, flip=True, pad_crop=1).train_batches(4, 0)(0).shape[0] == 4
