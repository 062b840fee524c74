"""Distributions of latents: densities against TFP's and quadrature, samples by their moments."""

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet.models.bases import ClassNormal, DiagonalNormal

RNG = np.random.default_rng(0)


@pytest.fixture
def classes(dtype):
    """Three classes of latents `[2]`, none of whose weights is at its default."""
    base = ClassNormal(3, dtype=dtype)
    base.build((None, 2))
    base.loc.assign([[-2.0, 0.0], [1.0, 1.0], [3.0, -2.0]])
    base.log_scale.assign([[-1.0, 0.3], [0.0, -0.5], [0.2, 0.1]])
    base.logits.assign([0.0, 1.0, -0.5])
    return base


def test_densities_are_those_of_tfp(classes, dtype, mode, run_in_mode):
    z = tf.constant(RNG.normal(size=(7, 2)), dtype)
    rtol = 1e-5 if dtype == "float32" else 1e-12
    found = run_in_mode(classes.log_prob, mode)(z)
    np.testing.assert_allclose(found, classes.distribution().log_prob(z), rtol=rtol)
    joint = run_in_mode(classes.joint_log_prob, mode)(z)
    mixture = classes.distribution()
    expected = mixture.components_distribution.log_prob(z[:, None]) + tf.nn.log_softmax(
        classes.logits.value
    )
    np.testing.assert_allclose(joint, expected, rtol=rtol)


def test_the_mixture_integrates_to_one(classes, dtype):
    axis = np.linspace(-12, 12, 601)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    density = np.exp(classes.log_prob(tf.constant(grid, dtype)))
    assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-4)


def test_samples_have_the_moments_and_the_frequencies(classes, mode, run_in_mode):
    """Mean, standard deviation and the share of each class within 4 standard errors."""
    count = 20_000
    z = np.asarray(run_in_mode(classes.sample, mode)(count, tf.constant([0, 1])), np.float64)
    mean, deviation = (np.asarray(m, np.float64) for m in classes.moments())
    assert np.all(np.abs(z.mean(axis=0) - mean) < 4 * deviation / np.sqrt(count))
    error = np.std((z - mean) ** 2, axis=0) / np.sqrt(count)
    assert np.all(np.abs(np.mean((z - mean) ** 2, axis=0) - deviation**2) < 4 * error)
    # Classes by Bayes' rule: the mean posterior of samples is the prior.
    posterior = tf.nn.softmax(classes.joint_log_prob(tf.cast(z, classes.dtype))).numpy()
    prior = tf.nn.softmax(classes.logits.value).numpy()
    error = posterior.std(axis=0) / np.sqrt(count)
    assert np.all(np.abs(posterior.mean(axis=0) - prior) < 4 * error)


def test_a_label_chooses_the_normal(classes):
    seed, count = tf.constant([0, 2]), 5000
    for label in range(3):
        z = np.asarray(classes.sample(count, seed, label=label), np.float64)
        loc, scale = classes.loc.numpy()[label], np.exp(classes.log_scale.numpy()[label])
        assert np.all(np.abs(z.mean(axis=0) - loc) < 4 * scale / np.sqrt(count))
        assert np.all(np.abs(z.std(axis=0) / scale - 1) < 4 / np.sqrt(2 * count))
    mixed = classes.sample(3, seed, label=[2, 0, 1])
    alone = [classes.sample(3, seed, label=label)[i] for i, label in enumerate([2, 0, 1])]
    np.testing.assert_array_equal(mixed, np.stack(alone))


def test_at_temperature_0_there_are_only_means(classes):
    z = np.asarray(classes.sample(50, tf.constant([0, 3]), temperature=0.0))
    distances = np.abs(z[:, None] - classes.loc.numpy()).max(axis=-1)
    assert np.all(distances.min(axis=1) == 0) and len(np.unique(distances.argmin(axis=1))) == 3
    normal = DiagonalNormal(learned=True)
    normal.build((None, 2))
    normal.loc.assign([1.0, 2.0])
    np.testing.assert_array_equal(normal.sample(4, tf.constant([0, 0]), 0.0), [[1.0, 2.0]] * 4)


def test_one_class_is_no_mixture():
    with pytest.raises(ValueError, match=r"num_classes ≥ 2\. Received: num_classes=1"):
        ClassNormal(1)
