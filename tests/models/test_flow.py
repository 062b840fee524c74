"""ResidualFlow as its users use it."""

import os
import subprocess
import sys
import traceback

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet as tfi
from tf_iresnet import layers

# Kernels scaled by a formula, where it doesn't matter how: power iteration takes long to compile.
QUICK = {"normalization": "aol"}


def small_flow(**kwargs):
    return tfi.mlp_flow(2, **{"num_blocks": 3, "hidden_units": (32,), "seed": 1, **kwargs})


@pytest.fixture(scope="module")
def trained():
    """A flow that has moved away from its initial weights, and its data."""
    random = np.random.default_rng(0)
    x = (random.normal(size=(512, 2)) * [0.3, 1.0] + [1.0, 0.0]).astype("float32")
    x[:, 1] += x[:, 0] ** 2
    flow = small_flow(activation="sine")
    flow.compile(optimizer=keras.optimizers.Adam(5e-3))
    history = flow.fit(x, batch_size=128, epochs=15, verbose=0).history
    return flow, x, history


@pytest.fixture(scope="module")
def quadrature(trained):
    """The log-density on a grid that holds all of it, in float64, and the area of a cell."""
    axis = np.linspace(-9, 9, 201)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2).astype("float32")
    return trained[0].log_prob(grid).numpy().astype("float64"), (axis[1] - axis[0]) ** 2


def test_training_lowers_the_loss_which_is_nats_and_bits(trained):
    flow, x, history = trained
    assert history["loss"][-1] < history["loss"][0] - 0.2
    nats, bits = flow.evaluate(x, verbose=0)
    assert nats == pytest.approx(-np.mean(flow.log_prob(x)), rel=1e-5)
    assert bits == pytest.approx(nats / 2 / np.log(2), rel=1e-5)


def test_fit_leaves_the_norms_of_the_last_weights_stored(trained):
    for dense in trained[0].layer.layers[-1].layer.layers[1].branch.layers:
        kernels = np.asarray(dense.kernel, np.float64)
        images = np.einsum("kio,ko->ki", kernels, np.asarray(dense.rule.stored_vector, np.float64))
        norms = np.linalg.norm(kernels, 2, axis=(1, 2))
        np.testing.assert_allclose(np.linalg.norm(images, axis=1), norms, rtol=0.01)
        assert np.all(norms > 0.9 * dense.coefficient), "or any vector would do"


def test_the_density_integrates_to_one(quadrature):
    log_prob, area = quadrature
    assert np.exp(log_prob).sum() * area == pytest.approx(1, abs=2e-3)


def test_samples_follow_the_density(trained, quadrature):
    """Mean log-density of samples = −entropy, which quadrature gives too."""
    flow = trained[0]
    log_prob, area = quadrature
    entropy = -np.sum(np.exp(log_prob) * log_prob) * area
    values = flow.log_prob(flow.sample(4000, seed=7)).numpy()
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() + entropy) < 3.5 * error + 3e-3


def test_encode_and_decode_are_inverse(trained):
    flow, x, _ = trained
    np.testing.assert_allclose(flow.decode(flow.encode(x)), x, atol=1e-4)
    samples = flow.sample(200, seed=3)
    np.testing.assert_allclose(flow.decode(flow.encode(samples)), samples, atol=1e-4)


def test_sampling_is_reproducible_by_seed_and_fresh_without(trained):
    flow = trained[0]
    np.testing.assert_array_equal(flow.sample(5, seed=3), flow.sample(5, seed=3))
    assert np.any(flow.sample(5, seed=3) != flow.sample(5, seed=4))
    assert np.any(flow.sample(5) != flow.sample(5))


def test_samples_of_any_number_share_their_traces():
    flow = small_flow(**QUICK)
    counts = []
    for num in (2, 3, 4):
        assert flow.sample(num).shape == (num, 2)
        counts.append(len(flow.traces._functions))
    assert counts == [2, 2, 2]  # latents, and the inverse


def test_anchor_10_evaluation_is_deterministic():
    flow = tfi.mlp_flow(6, 2, (16,), seed=1, log_det=tfi.log_det.PowerSeries(5))
    x = np.random.default_rng(0).normal(size=(20, 6)).astype("float32")
    np.testing.assert_array_equal(flow.log_prob(x), flow.log_prob(x))
    np.testing.assert_array_equal(flow.log_prob(x, seed=4), flow.log_prob(x, seed=4))
    assert np.any(flow.log_prob(x, seed=4) != flow.log_prob(x, seed=5))


def test_sample_weight_gives_the_gradient_of_the_weighted_sum():
    """One SGD step on weighted examples against the sum of the examples' own gradients, 1e-4."""
    x = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
    weight = np.array([1, 0, 5, -2, 0.1, 3, 1, 40], "float32")
    flow = small_flow(act_norm=False)
    variables = flow.trainable_variables
    singles = []
    for row in x:
        with tf.GradientTape() as tape:
            loss = -flow(row[None], training=False)[0]
        singles.append(tape.gradient(loss, [v.value for v in variables]))
    before = [v.numpy() for v in variables]
    flow.compile(optimizer=keras.optimizers.SGD(1.0))
    flow.train_on_batch(x, sample_weight=weight)
    for index, variable in enumerate(variables):
        expected = np.mean([w * g[index] for w, g in zip(weight, singles, strict=True)], axis=0)
        step = before[index] - variable.numpy()
        np.testing.assert_allclose(step, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_training_is_reproducible_and_follows_the_step_counter():
    """Two flows of one seed; then one that has gone on is put back to the other's second step."""
    x = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")

    def fresh():
        flow = tfi.mlp_flow(6, 2, (8,), seed=3)  # roulette noise in training
        flow.compile(optimizer=keras.optimizers.Adam(1e-2))
        return flow

    def train_two_steps(flow):
        for _ in range(2):
            flow.train_on_batch(x)
        return [v.numpy() for v in (*flow.weights, *flow.optimizer.variables)]

    first, second = fresh(), fresh()
    half_way, end = train_two_steps(first), train_two_steps(first)
    for expected in (half_way, end):
        for ours, theirs in zip(train_two_steps(second), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    train_two_steps(second)
    variables = (*second.weights, *second.optimizer.variables)
    for variable, value in zip(variables, half_way, strict=True):
        variable.assign(value)
    for ours, theirs in zip(train_two_steps(second), end, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_conditional_flow_learns_its_condition():
    random = np.random.default_rng(0)
    condition = random.choice([-1.0, 1.0], size=(1024, 1)).astype("float32")
    x = (random.normal(size=(1024, 2)) * 0.3 + 2 * condition).astype("float32")
    flow = small_flow(condition_size=1)
    flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    flow.fit(x, condition, epochs=15, batch_size=256, verbose=0)
    for side in (-1.0, 1.0):
        samples = flow.sample(300, condition=[side], seed=1)
        np.testing.assert_allclose(np.mean(samples, 0), 2 * side, atol=0.25)
    right, wrong = flow.log_prob(x, condition), flow.log_prob(x, -condition)
    assert np.mean(right) > np.mean(wrong) + 2
    z = flow.encode(x, condition)
    np.testing.assert_allclose(flow.decode(z, condition), x, atol=1e-4)


def test_a_saved_flow_is_the_same_in_a_fresh_process(trained, tmp_path):
    flow, x, _ = trained
    flow.save(tmp_path / "flow.keras")
    np.save(tmp_path / "x.npy", x)
    program = (
        "import sys, numpy as np, keras, tf_iresnet; p = sys.argv[1];"
        "flow = keras.models.load_model(p + '/flow.keras');"
        "np.save(p + '/y.npy', flow.log_prob(np.load(p + '/x.npy')));"
        "np.save(p + '/s.npy', flow.sample(9, seed=2))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, env=os.environ)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), flow.log_prob(x))
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), flow.sample(9, seed=2))


def test_predict_gives_log_densities(trained):
    flow, x, _ = trained
    np.testing.assert_allclose(flow.predict(x, verbose=0), flow.log_prob(x), rtol=1e-5)


def test_preprocessing_keeps_densities_in_the_units_of_the_data():
    mean, deviation = np.array([100.0, -3.0]), np.array([20.0, 1e-3])
    raw = small_flow(**QUICK)
    scaled = small_flow(**QUICK, preprocessing=[layers.Rescale.standardize(mean, deviation)])
    scaled.set_weights(raw.get_weights())
    x = np.random.default_rng(0).normal(size=(10, 2)).astype("float32")
    data = x.astype("float64") * deviation + mean
    expected = raw.log_prob(x) - np.log(deviation).sum()
    np.testing.assert_allclose(scaled.log_prob(data.astype("float32")), expected, atol=0.3)
    double = small_flow(
        **QUICK,
        preprocessing=[layers.Rescale.standardize(mean, deviation, dtype="float64")],
        dtype="float64",
    )
    double.set_weights(raw.get_weights())
    np.testing.assert_allclose(double.log_prob(data), expected, atol=1e-4)


def test_xla_and_graph_agree_with_eager(mode, run_in_mode):
    flow = small_flow(hidden_units=(8,), dtype="float64", **QUICK)
    x = tf.constant(np.random.default_rng(0).normal(size=(5, 2)))

    def value_and_gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = flow.log_prob(x)
        return value, tape.gradient(value, x), flow.sample(4, seed=1)

    value, gradient, samples = run_in_mode(value_and_gradient, mode)(x)
    np.testing.assert_allclose(value, flow.log_prob(x), rtol=1e-9)
    np.testing.assert_allclose(samples, flow.sample(4, seed=1), atol=1e-4)
    step = 1e-6 * np.array([[1.0, 0.0]])
    slope = (flow.log_prob(x + step) - flow.log_prob(x - step)) / 2e-6
    np.testing.assert_allclose(gradient[:, 0], slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("log_det", ["exact", "power_series"])
def test_few_frames_of_the_package_lie_between_a_log_density_and_its_first_product(
    log_det, monkeypatch
):
    """What a reader of the code, or of a traceback, has to go through: flowjax has 11 frames."""
    flow, depths, matmul = tfi.mlp_flow(3, 2, (7,), seed=0, log_det=log_det), [], tf.matmul
    package = os.path.dirname(tfi.__file__) + os.sep

    def counting(a, b, *args, **kwargs):
        if a.shape[-1] == 3 and b.shape == (3, 7):  # the batch, and the first kernel of g
            frames = traceback.extract_stack()
            depths.append(sum(frame.filename.startswith(package) for frame in frames))
        return matmul(a, b, *args, **kwargs)

    monkeypatch.setattr(tf, "matmul", counting)
    tf.function(flow.log_prob, autograph=False).get_concrete_function(tf.zeros([5, 3]))
    assert 1 <= depths[0] <= 12


def test_a_training_step_is_traced_once(monkeypatch):
    traces, values = [], tfi.ResidualFlow._values

    def counted(self, *args, **kwargs):
        traces.append(tf.executing_eagerly())
        return values(self, *args, **kwargs)

    monkeypatch.setattr(tfi.ResidualFlow, "_values", counted)
    flow = small_flow(**QUICK)
    flow.compile(optimizer="adam")
    flow.fit(np.zeros((64, 2), "float32"), epochs=2, verbose=0)
    assert traces == [False]


def test_jit_compiled_fit_trains():
    flow = small_flow(hidden_units=(8,))
    flow.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=True)
    x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32") * 0.1
    losses = flow.fit(x, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "call,message",
    [
        (
            lambda f: f.log_prob(np.zeros((2, 2)), condition=np.zeros((2, 1))),
            "condition of .* to be None",
        ),
        (lambda f: f.log_prob(np.zeros((2, 3))), r"inputs of .* of shape \[batch, 2\].*\(2, 3\)"),
        (lambda f: tfi.mlp_flow(0), "event_size.*event_size=0"),
        (lambda f: tfi.mlp_flow(2, base="cauchy"), "base to be one of.*cauchy"),
        (lambda f: tfi.mlp_flow(2, 1, (4,), 1.1), "below 1"),
        (lambda f: small_flow(condition_size=2).sample(3), r"\[3, 2\].*None"),
    ],
)
def test_errors_say_what_was_expected(trained, call, message):
    with pytest.raises(ValueError, match=message):
        call(trained[0])
