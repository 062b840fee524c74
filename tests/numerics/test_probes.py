"""Random probes from seeds."""

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import image_flow, mlp_flow
from tf_iresnet.layers import Rescale
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.numerics import probes


@pytest.mark.parametrize("name", probes.NAMES)
def test_a_part_of_a_batch_has_the_probes_that_its_rows_have_in_the_whole(name):
    x, seed = tf.zeros([7, 3, 1], tf.float64), probes.as_seed(5)

    def drawn(x, seed):
        own = probes.split(probes.fold_in(seed, 3), 2)[1]
        return tf.reshape(probes.draw(name, x, 2, own), [2, -1, 3])

    whole = drawn(x, seed)
    for first, last in ((0, 2), (2, 7), (5, 5)):
        part = drawn(x[first:last], probes.from_row(seed, first))
        np.testing.assert_allclose(part, whole[:, first:last], atol=1e-12)


def test_what_all_rows_share_does_not_depend_on_the_part():
    seed = probes.as_seed(5)
    of_part = probes.integers([], probes.from_row(seed, 3), 1000)
    assert of_part == probes.integers([], seed, 1000)


@pytest.mark.parametrize(
    "seed", [10**30, 2**31, -(2**31) - 1, (10**30, 0), [0, 2**40], np.int64(2**40)]
)
def test_seeds_that_would_be_cut_to_others_are_refused(seed):
    for take in (probes.as_seed, lambda seed: ResidualFlow([Rescale(2.0)], seed=seed)):
        with pytest.raises(ValueError, match=r"seed to be from -2147483648 to 2147483647\. "):
            take(seed)
    flow = ResidualFlow([Rescale(2.0)])
    flow.build((None, 2))
    with pytest.raises(ValueError, match="Expected seed to be from"):
        flow.sample(3, seed=seed)


def test_every_int32_is_a_seed_of_its_own():
    assert probes.as_seed(2**31 - 1).numpy().tolist() == [0, 2**31 - 1]
    assert probes.as_seed((-(2**31), 3)).numpy().tolist() == [-(2**31), 3]
    traced = tf.function(lambda step: probes.as_seed([0, step]))
    assert traced(tf.constant(3)).numpy().tolist() == [0, 3]


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: mlp_flow(2, 1, (4,), seed=seed),
        lambda seed: image_flow((8, 8, 1), "iresnet-mnist", seed=seed),
    ],
)
def test_a_seed_of_weights_below_zero_is_named(make):
    with pytest.raises(ValueError, match=r"seed to be 0 or more, or None for any\."):
        make(-1)


@pytest.mark.parametrize("temperature", [float("nan"), float("inf"), -1.0])
def test_a_temperature_is_finite(temperature):
    flow = ResidualFlow([Rescale(2.0)])
    flow.build((None, 2))
    with pytest.raises(ValueError, match="a finite temperature ≥ 0"):
        flow.sample(3, temperature=temperature)
