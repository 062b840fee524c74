"""The digits: the real ones, each in one split, the same split for everyone."""

import sys

import numpy as np
import pytest
import sklearn.datasets

from tf_iresnet import data
from tf_iresnet.data import digits


def test_splits_are_disjoint_and_together_all_images():
    parts = digits.load_levels()
    assert {name: len(part) for name, part in parts._asdict().items()} == digits.SIZES
    # No image occurs twice in this data, so that images can be told apart by their pixels.
    images = [tuple(image) for part in parts for image in part]
    source = [tuple(image) for image in sklearn.datasets.load_digits().data.astype(int)]
    assert len(set(images)) == len(images) == 1797
    assert set(images) == set(source)


def test_split_is_the_stated_permutation():
    order = np.random.RandomState(0).permutation(1797)
    source = sklearn.datasets.load_digits().data
    parts = digits.load_levels()
    np.testing.assert_array_equal(parts.validation, source[order[1257:1437]])
    np.testing.assert_array_equal(parts.test, source[order[1437:]])


def test_dataset_is_dequantised_once_for_evaluation_and_each_step_for_training():
    dataset, parts = data.load("digits"), digits.load_levels()
    assert dataset.bits_per_dim and dataset.levels == 17 and dataset.image_shape == (8, 8)
    for ours, levels in [(dataset.validation, parts.validation), (dataset.test, parts.test)]:
        assert ours.dtype == np.float32 and ours.min() >= 0 and ours.max() < 17
        np.testing.assert_array_equal(np.floor(ours), levels)
    np.testing.assert_array_equal(data.load("digits").test, dataset.test)

    # Two epochs of one batch each: the same images in another order and with other noise.
    batch = dataset.train_batches(1257, seed=3)
    first, second = batch(0).numpy(), batch(1).numpy()
    for epoch in (first, second):
        images = {tuple(image) for image in np.floor(epoch).astype(int)}
        assert images == {tuple(image) for image in parts.train}
    assert not np.any(np.isin(first, second).all(axis=1))


def test_statistics_standardise_the_training_data():
    dataset = data.load("digits")
    batch = dataset.train_batches(1257, seed=0)
    x = np.concatenate([batch(step) for step in range(20)])
    standard = (x - dataset.shift) / dataset.scale
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(standard.std(axis=0), 1, atol=0.03)


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"scikit-learn.*pip install 'tf_iresnet\[examples\]'"):
        data.load("digits")
