"""What training relies on: batches as a function of the step, whatever the data."""

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import data


@pytest.fixture(params=["toy", "digits", "table", "digits_image", "patches"])
def dataset(request, tmp_path):
    if request.param != "table":
        return data.load(request.param)
    np.save(tmp_path / "numbers.npy", np.random.default_rng(0).normal(3, 2, size=[200, 4]))
    return data.load("table", path=tmp_path / "numbers.npy")


def stream(dataset, first, last, seed=1):
    batch = dataset.train_batches(16, seed)
    steps = tf.data.Dataset.range(first, last)
    batches = steps.map(batch, num_parallel_calls=2, deterministic=True)
    assert batches.element_spec == tf.TensorSpec([16, *dataset.event_shape], tf.float32)
    return np.stack(list(batches.as_numpy_iterator()))


def test_resumed_training_sees_the_bits_it_would_have_seen(dataset):
    whole = stream(dataset, 0, 30)
    np.testing.assert_array_equal(stream(dataset, 17, 30), whole[17:])
    np.testing.assert_array_equal(dataset.train_batches(16, 1)(29), whole[29])
    assert not np.array_equal(stream(dataset, 0, 1, seed=2)[0], whole[0])


def test_pipelines_share_the_batches_that_one_would_give(dataset):
    whole = dataset.train_batches(18, 1)(4)
    parts = [dataset.train_batches(18, 1, (index, 3))(4) for index in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    for pipeline in ((3, 3), (0, 4)):
        with pytest.raises(ValueError, match="batch_size a multiple of count"):
            dataset.train_batches(18, 1, pipeline)


def test_fields_fit_together(dataset):
    d = dataset.event_size
    for part in (dataset.validation, dataset.test):
        assert part.dtype == np.float32 and part.shape[1:] == dataset.event_shape
    assert dataset.shift.shape == dataset.scale.shape == dataset.event_shape
    assert dataset.shift.dtype == dataset.scale.dtype == np.float32
    assert len(dataset.columns) == len(dataset.ranges) == d
    assert np.all(dataset.ranges[:, 0] < dataset.ranges[:, 1])
    test, (low, high) = dataset.test.reshape(-1, d), dataset.ranges.T
    inside = (test >= low) & (test <= high)
    assert inside.mean() > 0.95


def test_shift_and_scale_standardise_training_batches(dataset):
    x = stream(dataset, 0, 250).reshape(-1, dataset.event_size)
    standard = (x - dataset.shift.ravel()) / dataset.scale.ravel()
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(standard.std(axis=0), 1, atol=0.1)


def test_evaluation_data_is_not_training_data(dataset):
    train = {row.tobytes() for row in stream(dataset, 0, 100).reshape(-1, dataset.event_size)}
    validation = {row.tobytes() for row in dataset.validation}
    test = {row.tobytes() for row in dataset.test}
    assert not train & validation and not train & test and not validation & test


def test_toy_knows_the_truth():
    dataset = data.load("toy", density="checkerboard", validation_size=10, test_size=20)
    assert len(dataset.validation) == 10 and len(dataset.test) == 20
    assert not dataset.bits_per_dim
    np.testing.assert_allclose(dataset.log_prob(dataset.test), -dataset.entropy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("minst", {}, r"toy, digits, table, .*cifar100\. Received: name='minst'"),
        ("mnist", {"pad": 1}, r"options .*'mnist': padded, .*Received: .*'pad'"),
        ("image_folder", {}, r"options .*'image_folder': path, .*Received: missing .*'path'"),
        ("toy", {"density": "blob"}, r"8gaussians, .*Received: name='blob'"),
        ("toy", {"size": 3}, r"options .*'toy': density, .*Received: .*'size'"),
        ("table", {}, r"options .*'table': path, .*Received: missing .*'path'"),
        ("digits", {"seed": 1}, r"options .*'digits': none\. Received: .*'seed'"),
    ],
)
def test_wrong_names_and_options_list_the_right_ones(name, options, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, **options)


def test_batch_size_is_positive():
    with pytest.raises(ValueError, match=r"batch_size >= 1\. Received: batch_size=0"):
        data.load("digits").train_batches(0, seed=0)
