"""Random probes from seeds."""

import numpy as np
import pytest
import tensorflow as tf

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
