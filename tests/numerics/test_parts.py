"""A batch in parts gives what it gives whole."""

import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet as tfi
from tf_iresnet.numerics import parts


@pytest.mark.parametrize("rows", [0, 1, 5, 6])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_parts_are_put_together_in_order(rows, number):
    x, factor = tf.reshape(tf.range(2.0 * rows), [rows, 2]), tf.range(1.0 * rows)[:, None]
    np.testing.assert_array_equal(parts.apply(tf.multiply, number, x, factor), x * factor)
    kept = parts.apply(lambda x, nothing: x if nothing is None else None, number, x, None)
    np.testing.assert_array_equal(kept, x)


def test_small_batches_are_not_divided(monkeypatch):
    monkeypatch.setattr(parts.os, "sched_getaffinity", lambda pid: range(4), raising=False)
    least = parts.LEAST_ROWS
    rows = (0, 1, 2 * least - 1, 2 * least, 4 * least - 1, 100 * least)
    assert [parts.count(n) for n in rows] == [1, 1, 1, 2, 3, 4]


def test_decoding_does_not_depend_on_the_number_of_parts(monkeypatch):
    flow = tfi.mlp_flow(3, 2, (16,), seed=1, condition_size=2)
    random = np.random.default_rng(0)
    z, condition = (random.normal(size=(201, n)).astype("float32") for n in (3, 2))
    flow.compile("sgd", jit_compile=True)  # only what is compiled is divided
    results = []
    for number in (1, 3):
        monkeypatch.setattr(parts, "count", lambda rows, number=number: number)
        results.append(flow.decode(z, condition).numpy())
        names = [name for name, _ in flow.traces._functions]
        assert any(name.startswith(f"('inverse', {number})") for name in names)
    np.testing.assert_allclose(*results, atol=1e-5)
    np.testing.assert_allclose(flow.encode(results[1], condition), z, atol=1e-4)
