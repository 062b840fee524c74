"""A layer as a TFP bijector: never stale, never untracked, in every mode, shape and composition."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import tf_iresnet as tfi
from tf_iresnet.bijectors import InvertibleBijector
from tf_iresnet.layers import Inverse, InvertibleLayer, InvertibleSequential

tfb, tfd = tfp.bijectors, tfp.distributions

MATRIX = np.array([[1.5, 0.4], [-0.2, 0.8]])
OFFSET = np.array([0.3, -0.7])
X = np.array([[0.1, 0.5], [-1.2, 0.4], [2.0, -0.3]])


class Affine(InvertibleLayer):
    """`y = A x + b (+ c)`: everything about it has a closed form. Counts the passes it makes."""

    def __init__(self, condition_size=None, **kwargs):
        super().__init__(**kwargs)
        self.condition_size = condition_size
        self.passes = {"call": 0, "pair": 0, "inverse": 0}

    def build(self, input_shape):
        super().build(input_shape)
        self.matrix = self.add_weight(shape=(2, 2), initializer=constant(MATRIX))
        self.offset = self.add_weight(shape=(2,), initializer=constant(OFFSET))

    def call(self, inputs, condition=None, training=None):
        self.passes["call"] += 1
        x, condition = self._prepare(inputs, condition)
        return self.shift(condition) + tf.matmul(x, self.matrix.value, transpose_b=True)

    def shift(self, condition):
        return self.offset.value + (0 if condition is None else condition)

    def log_det(self, x):
        a = self.matrix.value
        return tf.fill([tf.shape(x)[0]], tf.math.log(a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0]))

    def transform(self, x, condition, training, seed):
        self.passes["pair"] += 1
        y = self.shift(condition) + tf.matmul(x, self.matrix.value, transpose_b=True)
        return y, self.log_det(x)

    def invert(self, y, condition):
        self.passes["inverse"] += 1
        inverse = tf.linalg.inv(self.matrix.value)
        return tf.matmul(y - self.shift(condition), inverse, transpose_b=True)


class Bent(InvertibleLayer):
    """`y = x + tanh(W x) / 2` with `‖W‖ = 1`, solved by a fixed count of Picard steps."""

    def build(self, input_shape):
        super().build(input_shape)
        self.weight = self.add_weight(
            shape=(2, 2), initializer=constant([[0.6, 0.8], [-0.8, 0.6]]), name="weight"
        )

    def branch(self, x):
        return 0.5 * tf.tanh(tf.matmul(x, self.weight.value, transpose_b=True))

    def transform(self, x, condition, training, seed):
        gx = self.branch(x)
        slope = 0.5 - 2 * gx**2
        w = self.weight.value
        j = slope[:, :, None] * w
        det = (1 + j[:, 0, 0]) * (1 + j[:, 1, 1]) - j[:, 0, 1] * j[:, 1, 0]
        return x + gx, tf.math.log(det)

    def invert(self, y, condition):
        return tf.while_loop(
            lambda x: True, lambda x: (y - self.branch(x),), (y,), maximum_iterations=55
        )[0]


class Flatten(InvertibleLayer):
    """`[2, 2] → [4]`, doubled: another event shape on each side."""

    def compute_output_shape(self, input_shape, condition_shape=None):
        return (input_shape[0], 4)

    def transform(self, x, condition, training, seed):
        log_det = tf.fill([tf.shape(x)[0]], tf.constant(4 * np.log(2), x.dtype))
        return 2 * tf.reshape(x, [-1, 4]), log_det

    def invert(self, y, condition):
        return tf.reshape(y, [-1, 2, 2]) / 2


def constant(value):
    return keras.initializers.Constant(np.asarray(value))


def built(layer, shape=(2,)):
    layer.build((None, *shape))
    return layer


def affine(**kwargs):
    return built(Affine(dtype="float64", **kwargs))


def bent(dtype="float64"):
    return built(Bent(dtype=dtype))


def standard_normal(dtype="float64", event_shape=(2,)):
    normal = tfd.Normal(tf.zeros(event_shape, dtype), tf.ones([], dtype))
    return tfd.Independent(normal, len(event_shape))


def flow(layer, **kwargs):
    bijector = tfb.Invert(InvertibleBijector(layer, **kwargs))
    return tfd.TransformedDistribution(standard_normal(layer.variable_dtype), bijector)


def closed_form(layer, x, condition=0.0):
    """ln of the density of `A⁻¹(z − b − c)`, `z` standard normal, with the present weights."""
    precision = layer.matrix.numpy().T @ layer.matrix.numpy()
    mean = -np.linalg.solve(layer.matrix.numpy(), layer.offset.numpy() + condition)
    return stats.multivariate_normal(mean, np.linalg.inv(precision)).logpdf(x)


def update(layer):
    """A training step's worth of change."""
    for variable in layer.trainable_variables:
        variable.assign(1.3 * variable.value + 0.1)


def jacobian_log_det(function, x):
    """Exact log-determinant of each row, by autodiff and an LU factorisation."""
    x = tf.constant(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = function(x)
    return np.linalg.slogdet(tape.batch_jacobian(y, x, experimental_use_pfor=False).numpy())[1]


SEED = (0, 1)  # a pair: TFP makes an int depend on what was drawn before
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


# -- values --------------------------------------------------------------------------------------


def test_log_prob_is_the_closed_form(mode, dtype, run_in_mode):
    layer = built(Affine(dtype=dtype))
    log_prob = run_in_mode(flow(layer).log_prob, mode)(tf.constant(X, dtype))
    np.testing.assert_allclose(log_prob, closed_form(layer, X), rtol=TOLERANCE[dtype])


def test_samples_map_to_the_base_noise_of_the_same_seed(mode, dtype, run_in_mode):
    layer = built(Affine(dtype=dtype))
    samples, noise = run_in_mode(
        lambda: [d.sample((2, 3), seed=SEED) for d in (flow(layer), standard_normal(dtype))], mode
    )()
    assert samples.shape == (2, 3, 2)
    np.testing.assert_allclose(
        samples @ MATRIX.T + OFFSET, noise, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
    )


def test_inverse_and_both_log_dets_match_the_jacobian(mode, dtype, run_in_mode):
    layer, x = bent(dtype), tf.constant(X, dtype)
    bijector = InvertibleBijector(layer)

    def everything(x):
        y = bijector.forward(x)
        fresh = tf.identity(y)  # not the tensor that forward returned, so nothing is remembered
        return (
            bijector.inverse(fresh),
            bijector.forward_log_det_jacobian(x),
            bijector.inverse_log_det_jacobian(tf.identity(y)),
            bijector.inverse_log_det_jacobian(y),
        )

    recovered, forward, inverse, linked = run_in_mode(everything, mode)(x)
    expected = jacobian_log_det(bent().call, X)
    tolerance = 10 * TOLERANCE[dtype]
    np.testing.assert_allclose(recovered, X, atol=tolerance)
    np.testing.assert_allclose(forward, expected, atol=tolerance)
    # Defect 8 of the peers: the log-determinant of the inverse taken at y instead of x.
    np.testing.assert_allclose(inverse, -expected, atol=tolerance)
    np.testing.assert_allclose(linked, -expected, atol=tolerance)


def test_gradients_of_log_prob_are_those_of_the_closed_form(mode, run_in_mode):
    layer, x = affine(), tf.constant(X)
    distribution = flow(layer)

    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(distribution.log_prob(x))
        return tape.gradient(loss, [x, *distribution.trainable_variables])

    by_x, by_matrix, by_offset = run_in_mode(gradients, mode)(x)
    z = X @ MATRIX.T + OFFSET
    np.testing.assert_allclose(by_x, -z @ MATRIX, rtol=1e-12)
    np.testing.assert_allclose(by_matrix, -z.T @ X + 3 * np.linalg.inv(MATRIX).T, rtol=1e-12)
    np.testing.assert_allclose(by_offset, -z.sum(0), rtol=1e-12)


def test_gradients_of_a_sample_are_those_of_the_closed_form(mode, run_in_mode):
    layer = affine()
    distribution = flow(layer)

    def gradients():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(distribution.sample(3, seed=SEED))
        return tape.gradient(total, layer.trainable_weights[1]._value)

    # x = A⁻¹(z − b)
    expected = -3 * np.linalg.inv(MATRIX).sum(0)
    np.testing.assert_allclose(run_in_mode(gradients, mode)(), expected, rtol=1e-12)


def test_log_prob_of_a_sample_and_their_joint_method_agree(mode, run_in_mode):
    distribution = flow(bent())

    def both():
        x, joint = distribution.experimental_sample_and_log_prob(4, seed=SEED)
        return joint, distribution.log_prob(x), distribution.log_prob(tf.identity(x))

    joint, linked, fresh = run_in_mode(both, mode)()
    np.testing.assert_allclose(joint, fresh, rtol=1e-12)
    np.testing.assert_allclose(linked, fresh, rtol=1e-12)


# -- cost ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("jit_compile", [False, True])
def test_log_prob_in_a_graph_is_one_pass(jit_compile):
    layer = affine()
    tf.function(flow(layer).log_prob, jit_compile=jit_compile).get_concrete_function(tf.constant(X))
    assert layer.passes == {"call": 0, "pair": 1, "inverse": 0}


def test_log_prob_in_eager_mode_confirms_by_one_evaluation_and_never_inverts():
    layer = affine()
    distribution = flow(layer)
    distribution.log_prob(tf.constant(X))
    with tf.GradientTape():
        distribution.log_prob(tf.constant(X))
    assert layer.passes == {"call": 2, "pair": 2, "inverse": 0}


def test_compositions_find_the_pair_in_a_graph_without_an_inverse():
    layer = affine()
    shift = tfb.Shift(tf.constant([1.0, 2.0], tf.float64))
    inner = InvertibleBijector(layer)
    for bijector in (tfb.Invert(tfb.Chain([inner, shift])), tfb.Chain([shift, tfb.Invert(inner)])):
        layer.passes = dict.fromkeys(layer.passes, 0)
        distribution = tfd.TransformedDistribution(standard_normal(), bijector)
        tf.function(distribution.log_prob).get_concrete_function(tf.constant(X))
        assert layer.passes == {"call": 0, "pair": 1, "inverse": 0}


def test_sampling_with_its_log_prob_inverts_once():
    layer = affine()
    tf.function(
        lambda: flow(layer).experimental_sample_and_log_prob(3, seed=SEED)
    ).get_concrete_function()
    assert layer.passes["inverse"] == 1


# -- never stale ---------------------------------------------------------------------------------


def test_eager_log_prob_follows_the_optimizer_on_the_same_tensor():
    layer, x = affine(), tf.constant(X)
    distribution = flow(layer)
    optimizer = keras.optimizers.SGD(0.05)
    for _ in range(3):
        before = distribution.log_prob(x)
        np.testing.assert_allclose(before, closed_form(layer, X), rtol=1e-12)
        with tf.GradientTape() as tape:
            loss = -tf.reduce_sum(distribution.log_prob(x))
        gradients = tape.gradient(loss, layer.trainable_weights)
        z = X @ layer.matrix.numpy().T + layer.offset.numpy()
        np.testing.assert_allclose(gradients[1], z.sum(0), rtol=1e-12)
        optimizer.apply(gradients, layer.trainable_weights)


def test_eager_log_prob_of_a_sample_follows_an_update():
    layer = affine()
    distribution = flow(layer)
    x = distribution.sample(5, seed=SEED)
    update(layer)
    np.testing.assert_allclose(distribution.log_prob(x), closed_form(layer, x), rtol=1e-12)


def test_eager_inverse_of_a_remembered_latent_follows_an_update():
    layer = affine()
    bijector = InvertibleBijector(layer)
    x = tf.constant(X)
    y = bijector.forward(x)
    assert bijector.inverse(y) is x
    update(layer)
    a, b = layer.matrix.numpy(), layer.offset.numpy()
    expected = np.linalg.solve(a, (y.numpy() - b).T).T
    np.testing.assert_allclose(bijector.inverse(y), expected, rtol=1e-10)
    np.testing.assert_allclose(
        bijector.inverse_log_det_jacobian(y), np.full(3, -np.linalg.slogdet(a)[1]), rtol=1e-12
    )


def test_a_new_equal_bijector_and_two_layers_share_no_values():
    first, second = affine(), affine()
    update(second)
    x = tf.constant(X)
    y = InvertibleBijector(first).forward(x)
    recovered = InvertibleBijector(second).inverse(y)
    z = X @ MATRIX.T + OFFSET - second.offset.numpy()
    np.testing.assert_allclose(recovered, np.linalg.solve(second.matrix.numpy(), z.T).T, rtol=1e-10)


def test_a_graph_that_updates_weights_between_calls_sees_the_new_ones(run_in_mode):
    layer, x = affine(), tf.constant(X)
    distribution, bijector = flow(layer), InvertibleBijector(layer)

    def step(x):
        y = bijector.forward(x)
        before = distribution.log_prob(x)
        update(layer)
        return y, before, distribution.log_prob(x), bijector.inverse(y)

    y, before, after, recovered = run_in_mode(step, "graph")(x)
    np.testing.assert_allclose(before, closed_form(affine(), X), rtol=1e-12)
    np.testing.assert_allclose(after, closed_form(layer, X), rtol=1e-12)
    np.testing.assert_allclose(bijector.forward(recovered), y, rtol=1e-10)


@pytest.mark.parametrize("where", ["eager", "graph"])
def test_a_tape_that_began_after_forward_differentiates_the_inverse(where, run_in_mode):
    layer = bent()
    bijector = InvertibleBijector(layer)

    def gradients(x):
        y = bijector.forward(x)
        with tf.GradientTape() as tape:
            tape.watch(y)
            log_det = tf.reduce_sum(bijector.inverse_log_det_jacobian(y))
        return y, tape.gradient(log_det, [y, layer.trainable_weights[0]._value])

    y, (by_y, by_weight) = run_in_mode(gradients, where)(tf.constant(X))

    def total(y):
        return tf.reduce_sum(bijector.inverse_log_det_jacobian(tf.constant(y))).numpy()

    step = 1e-5 * np.eye(6).reshape(6, 3, 2)
    expected = [(total(y + s) - total(y - s)) / 2e-5 for s in step]
    np.testing.assert_allclose(np.ravel(by_y), expected, atol=1e-8)
    weight = layer.trainable_weights[0]
    value = weight.numpy()
    expected = []
    for direction in 1e-5 * np.eye(4).reshape(4, 2, 2):
        ends = []
        for sign in (1, -1):
            weight.assign(value + sign * direction)
            ends.append(total(y))
        expected.append((ends[0] - ends[1]) / 2e-5)
    np.testing.assert_allclose(np.ravel(by_weight), expected, atol=1e-8)


def test_values_made_in_a_branch_or_loop_do_not_leak_out(run_in_mode):
    bijector = InvertibleBijector(bent())

    def log_dets(x):
        y = bijector.forward(x)
        inside = tf.cond(
            tf.reduce_sum(x) > 0,
            lambda: bijector.inverse_log_det_jacobian(y),
            lambda: tf.zeros(3, x.dtype),
        )
        _, looped = tf.while_loop(
            lambda i, _: i < 2,
            lambda i, total: (i + 1, total + bijector.inverse_log_det_jacobian(y)),
            (0, tf.zeros(3, x.dtype)),
        )
        return inside, looped / 2, bijector.inverse_log_det_jacobian(y)

    expected = -jacobian_log_det(bent().call, X)
    for value in run_in_mode(log_dets, "graph")(tf.constant(X)):
        np.testing.assert_allclose(value, expected, rtol=1e-10)


def test_a_latent_keeps_its_origin_alive_and_nothing_else_does():
    bijector = InvertibleBijector(affine())
    x = tf.constant(X)
    y = bijector.forward(x)
    origin = weakref.ref(x)
    del x
    assert bijector.inverse(y) is origin()
    del y
    assert origin() is None


def test_traced_graphs_are_freed():
    bijector = InvertibleBijector(affine())
    graphs = []

    @tf.function
    def round_trip(x):
        graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
        return bijector.inverse(bijector.forward(x))

    round_trip(tf.constant(X))
    del round_trip
    gc.collect()
    assert graphs[0]() is None


def test_a_chain_that_its_docstring_warns_of_is_fresh_for_a_copy_and_in_a_graph():
    layer = affine()
    shift = tfb.Shift(tf.constant([1.0, 2.0], tf.float64))
    chain = tfb.Chain([shift, tfb.Invert(InvertibleBijector(layer))])
    distribution = tfd.TransformedDistribution(standard_normal(), chain)
    x = distribution.sample(3, seed=SEED)
    update(layer)
    expected = closed_form(layer, x - [1.0, 2.0])
    np.testing.assert_allclose(distribution.log_prob(tf.identity(x)), expected, rtol=1e-12)
    np.testing.assert_allclose(tf.function(distribution.log_prob)(x), expected, rtol=1e-12)


# -- variables -----------------------------------------------------------------------------------


class Holder(tf.Module):
    """A user's module with a distribution in it."""

    def __init__(self, child):
        super().__init__()
        self.child = child

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float64)])
    def log_prob(self, x):
        return self.child.log_prob(x)


PARENTS = {
    "bijector": lambda bijector: bijector,
    "Invert": tfb.Invert,
    "Chain": lambda bijector: tfb.Chain([tfb.Identity(), tfb.Invert(bijector)]),
    "TransformedDistribution": lambda bijector: bijector(standard_normal()),
    "Sample": lambda bijector: tfd.Sample(tfb.Invert(bijector)(standard_normal()), 3),
    "Independent of Chain": lambda bijector: tfd.Independent(
        tfb.Chain([tfb.Invert(bijector), tfb.Identity()])(standard_normal()), 0
    ),
    "module": lambda bijector: Holder(tfb.Invert(bijector)(standard_normal())),
}


@pytest.mark.parametrize("parent", PARENTS)
def test_every_parent_sees_the_variables_as_they_are_now(parent):
    layer = affine()
    module = PARENTS[parent](InvertibleBijector(layer))

    def ids(variables):
        return sorted(id(variable) for variable in variables)

    weights = ids(variable._value for variable in layer.variables)
    assert ids(module.variables) == ids(module.trainable_variables) == weights
    layer.trainable = False
    assert module.trainable_variables == ()
    assert ids(module.variables) == ids(module.non_trainable_variables) == weights
    layer.trainable = True
    layer._tracker.unlock()
    layer.add_weight(shape=(), name="late", trainable=False)
    assert len(module.variables) == 3 and len(module.trainable_variables) == 2


def test_a_checkpoint_saves_each_weight_once_and_restores_it(tmp_path):
    layer = affine()
    update(layer)
    saved = tf.train.Checkpoint(distribution=flow(layer)).write(str(tmp_path / "saved"))
    entries = [name for name, _ in tf.train.list_variables(saved) if "OBJECT_GRAPH" not in name]
    assert len(entries) == 2
    other = affine()
    tf.train.Checkpoint(distribution=flow(other)).read(saved).assert_consumed()
    np.testing.assert_array_equal(other.matrix.numpy(), layer.matrix.numpy())


def test_a_module_with_a_distribution_exports_and_computes_the_same(tmp_path):
    layer = affine()
    tf.saved_model.save(Holder(flow(layer)), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.log_prob(tf.constant(X)), closed_form(layer, X), rtol=1e-12)


# -- keyword arguments ---------------------------------------------------------------------------

CONDITION = np.array([[1.0, -1.0], [0.5, 0.0], [0.0, 2.0]])


def test_condition_reaches_density_and_samples(mode, run_in_mode):
    layer = affine(condition_size=2)
    distribution = flow(layer)
    kwargs = {"bijector_kwargs": {"condition": CONDITION}}

    def values(x):
        samples = distribution.sample(3, seed=SEED, **kwargs)
        return distribution.log_prob(x, **kwargs), samples, standard_normal().sample(3, seed=SEED)

    log_prob, samples, noise = run_in_mode(values, mode)(tf.constant(X))
    expected = [closed_form(layer, x, c) for x, c in zip(X, CONDITION, strict=True)]
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
    np.testing.assert_allclose(samples @ MATRIX.T + OFFSET + CONDITION, noise, rtol=1e-10)


@pytest.mark.parametrize("where", ["eager", "graph"])
def test_the_same_latent_under_another_condition_is_another_event(where, run_in_mode):
    bijector = InvertibleBijector(affine(condition_size=2))

    def recovered(x):
        y = bijector.forward(x, condition=CONDITION[0])
        return [bijector.inverse(y, condition=c) for c in CONDITION]

    for c, x in zip(CONDITION, run_in_mode(recovered, where)(tf.constant(X)), strict=True):
        shift = np.linalg.solve(MATRIX, CONDITION[0] - c)
        np.testing.assert_allclose(x, X + shift, rtol=1e-10)


def test_a_chain_passes_the_condition_by_name():
    layer = affine(condition_size=2)
    bijector = tfb.Invert(InvertibleBijector(layer, name="flow"))
    shift = tfb.Shift(tf.constant([1.0, 2.0], tf.float64))
    distribution = tfd.TransformedDistribution(standard_normal(), tfb.Chain([shift, bijector]))
    kwargs = {"invert_flow": {"condition": CONDITION[0]}}
    log_prob = distribution.log_prob(tf.constant(X), bijector_kwargs=kwargs)
    expected = closed_form(layer, X - [1.0, 2.0], CONDITION[0])
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)


def test_a_fixed_condition_is_the_batch_shape_and_draws_independent_noise():
    layer = affine(condition_size=2)
    distribution = flow(layer, condition=CONDITION)
    assert distribution.batch_shape == (3,) and distribution.event_shape == (2,)
    samples = distribution.sample(4, seed=SEED)
    noise = samples @ MATRIX.T + OFFSET + CONDITION
    assert samples.shape == (4, 3, 2) and len(np.unique(noise)) == 24
    expected = [closed_form(layer, X[0], c) for c in CONDITION]
    np.testing.assert_allclose(distribution.log_prob(X[0]), expected, rtol=1e-12)
    np.testing.assert_allclose(distribution[1].log_prob(X[0]), expected[1], rtol=1e-12)


def test_a_condition_variable_is_read_at_each_call():
    layer = affine(condition_size=2)
    condition = tf.Variable(CONDITION[0])
    distribution = flow(layer, condition=condition)
    distribution.log_prob(X)
    condition.assign(CONDITION[1])
    expected = closed_form(layer, X, CONDITION[1])
    np.testing.assert_allclose(distribution.log_prob(X), expected, rtol=1e-12)
    assert any(variable is condition for variable in distribution.trainable_variables)


class Noisy(Affine):
    """Its log-determinant shows the seed that reached it."""

    def transform(self, x, condition, training, seed):
        y, log_det = super().transform(x, condition, training, seed)
        return y, log_det + tf.cast(seed[1], x.dtype)


def test_the_seed_reaches_the_log_determinant(mode, run_in_mode):
    layer = built(Noisy(dtype="float64"))
    bijector, distribution = InvertibleBijector(layer), flow(layer)

    def log_dets(x):
        y = bijector.forward(x)
        return (
            distribution.log_prob(x, bijector_kwargs={"seed": 7}) - distribution.log_prob(x),
            bijector.inverse_log_det_jacobian(y) - bijector.inverse_log_det_jacobian(y, seed=7),
        )

    for difference in run_in_mode(log_dets, mode)(tf.constant(X)):
        np.testing.assert_allclose(difference, np.full(3, 7.0), rtol=1e-12)


# -- shapes and dtypes ---------------------------------------------------------------------------


@pytest.mark.parametrize("leading", [(), (3,), (0,), (2, 3), (2, 1, 3)])
def test_any_leading_shape(leading, mode, run_in_mode):
    layer = affine()
    x = np.random.default_rng(1).normal(size=(*leading, 2))
    distribution, bijector = flow(layer), InvertibleBijector(layer)

    def values(x):
        y = bijector.forward(x)
        return distribution.log_prob(x), y, bijector.inverse(tf.identity(y))

    log_prob, y, recovered = run_in_mode(values, mode)(tf.constant(x))
    assert log_prob.shape == leading and y.shape == x.shape
    np.testing.assert_allclose(log_prob, np.reshape(closed_form(layer, x), leading), rtol=1e-12)
    np.testing.assert_allclose(recovered, x, rtol=1e-10)


@pytest.mark.parametrize("signature", [[None, 2], [None, None, 2], None])
def test_unknown_leading_shapes_keep_what_is_known(signature):
    layer = affine()
    distribution = flow(layer)
    spec = tf.TensorSpec(signature, tf.float64)
    log_prob = tf.function(distribution.log_prob, input_signature=[spec])
    x = X if signature == [None, 2] else X[None]
    np.testing.assert_allclose(
        log_prob(tf.constant(x)), np.reshape(closed_form(layer, X), x.shape[:-1]), rtol=1e-12
    )
    if signature is not None:
        static = log_prob.get_concrete_function().output_shapes
        assert static.as_list() == signature[:-1]


@pytest.mark.parametrize(
    ("leading", "condition_leading", "result"),
    [((3,), (), (3,)), ((4, 3), (3,), (4, 3)), ((), (3,), (3,)), ((4, 1), (1, 3), (4, 3))],
)
def test_condition_broadcasts_over_the_leading_shape(leading, condition_leading, result):
    layer = affine(condition_size=2)
    rng = np.random.default_rng(2)
    x, condition = rng.normal(size=(*leading, 2)), rng.normal(size=(*condition_leading, 2))
    bijector = InvertibleBijector(layer)
    y = bijector.forward(x, condition=condition)
    np.testing.assert_allclose(y, x @ MATRIX.T + OFFSET + condition, rtol=1e-12)
    assert bijector.forward_log_det_jacobian(x, condition=condition).shape == result
    recovered = bijector.inverse(tf.identity(y), condition=condition)
    np.testing.assert_allclose(recovered, np.broadcast_to(x, (*result, 2)), rtol=1e-10)


def test_other_event_shape_on_the_latent_side(mode, run_in_mode):
    bijector = InvertibleBijector(built(Flatten(dtype="float64"), (2, 2)))
    assert bijector.forward_event_shape([2, 2]) == [4]
    assert bijector.inverse_event_shape([7, 4]) == [7, 2, 2]
    np.testing.assert_array_equal(bijector.forward_event_shape_tensor([7, 2, 2]), [7, 4])
    np.testing.assert_array_equal(bijector.inverse_event_shape_tensor([4]), [2, 2])
    distribution = tfb.Invert(bijector)(standard_normal(event_shape=(4,)))
    assert distribution.event_shape == (2, 2)
    x = np.random.default_rng(3).normal(size=(3, 5, 2, 2))
    log_prob, samples = run_in_mode(
        lambda x: (distribution.log_prob(x), distribution.sample((3, 2), seed=SEED)), mode
    )(tf.constant(x))
    expected = stats.norm(scale=0.5).logpdf(x).sum((-2, -1))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
    assert samples.shape == (3, 2, 2, 2)


def test_arrays_are_converted_and_other_dtypes_are_refused_with_advice():
    bijector = InvertibleBijector(affine())
    np.testing.assert_allclose(
        bijector.forward(X.astype("float32")), X @ MATRIX.T + OFFSET, rtol=1e-6
    )
    x = tf.constant(X, tf.float32)
    for method in (
        bijector.forward,
        bijector.inverse,
        bijector.forward_log_det_jacobian,
        bijector.inverse_log_det_jacobian,
        flow(affine()).log_prob,
    ):
        with pytest.raises(TypeError, match=r"dtype=float32.*tf\.cast\(value, tf\.float64\)"):
            method(x)


ERRORS = {
    "unbuilt": (lambda: InvertibleBijector(Affine()), ValueError, "built InvertibleLayer.*Affine"),
    "model": (
        lambda: InvertibleBijector(tfi.ResidualFlow(Affine())),
        ValueError,
        r"InvertibleLayer.*ResidualFlow.*model\.layer",
    ),
    "event": (lambda: InvertibleBijector(affine()).forward(X[:, :1]), ValueError, r"\[..., 2\]"),
    "scalar": (lambda: InvertibleBijector(affine()).inverse(0.5), ValueError, r"\[..., 2\]"),
    "no condition": (
        lambda: flow(affine(condition_size=2)).log_prob(X),
        ValueError,
        r"\[..., 2\].*condition=None.*bijector_kwargs",
    ),
    "superfluous condition": (
        lambda: flow(affine(), condition=CONDITION).log_prob(X),
        ValueError,
        "condition to be None",
    ),
    "wide condition": (
        lambda: flow(affine(condition_size=2), condition=np.ones(3)).log_prob(X),
        ValueError,
        r"\(3,\)",
    ),
    "unknown argument": (
        lambda: flow(affine()).log_prob(X, bijector_kwargs={"temperature": 1}),
        TypeError,
        "temperature",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_expected(case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        call()


class Failing(Affine):
    def invert(self, y, condition):
        return super().invert(y, condition) * np.nan


@pytest.mark.parametrize("where", ["eager", "graph"])
def test_validate_args_makes_a_failed_inverse_an_error(where, run_in_mode):
    layer = built(Failing(dtype="float64"))
    y = tf.constant(X)
    assert np.isnan(InvertibleBijector(layer).inverse(y)).all()
    inverse = run_in_mode(InvertibleBijector(layer, validate_args=True).inverse, where)
    with pytest.raises(tf.errors.InvalidArgumentError, match="could not invert"):
        inverse(y)


# -- the rest of TFP -----------------------------------------------------------------------------


def test_equality_follows_the_layer():
    layer = affine()
    assert InvertibleBijector(layer) == InvertibleBijector(layer)
    assert InvertibleBijector(layer) != InvertibleBijector(affine())
    assert InvertibleBijector(layer).copy(name="other").name == "other"
    assert "invertible_bijector" in str(InvertibleBijector(layer))


def test_an_implicit_flow_is_a_distribution_too():
    steps = [Bent(dtype="float64"), Inverse(affine(), dtype="float64")]
    layer = built(InvertibleSequential(steps, dtype="float64"))
    x = flow(layer).sample(4, seed=SEED)
    log_prob = flow(layer).log_prob(tf.identity(x))
    log_det = jacobian_log_det(layer.call, x.numpy())
    z = layer.call(x).numpy()
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(z).sum(1) + log_det, rtol=1e-8)


def test_hamiltonian_monte_carlo_finds_the_moments_of_the_closed_form():
    layer = affine()
    kernel = tfp.mcmc.HamiltonianMonteCarlo(flow(layer).log_prob, 0.4, 4)

    @tf.function(jit_compile=True)
    def run():
        return tfp.mcmc.sample_chain(
            300,
            tf.zeros([64, 2], tf.float64),
            kernel=kernel,
            num_burnin_steps=50,
            trace_fn=None,
            seed=SEED,
        )

    draws = run().numpy().reshape(-1, 2)
    covariance = np.linalg.inv(MATRIX.T @ MATRIX)
    # 19,200 draws; even a tenth of them independent puts the bounds at over four standard errors.
    np.testing.assert_allclose(draws.mean(0), -np.linalg.solve(MATRIX, OFFSET), atol=0.12)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.2)


def test_as_part_of_a_joint_distribution(mode, run_in_mode):
    layer = affine(condition_size=2)
    bijector = InvertibleBijector(layer)

    @tfd.JointDistributionCoroutineAutoBatched
    def joint():
        c = yield tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), 2, name="c")
        conditional = bijector.copy(condition=c)
        yield tfd.TransformedDistribution(standard_normal(), tfb.Invert(conditional), name="x")

    log_prob = run_in_mode(lambda: joint.log_prob(c=CONDITION[0], x=X[0]), mode)()
    expected = stats.norm.logpdf(CONDITION[0]).sum() + closed_form(layer, X[0], CONDITION[0])
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
    assert joint.sample(seed=SEED).x.shape == (2,)


@pytest.mark.parametrize("where", ["eager", "graph"])
def test_replicas_given_the_same_tensors_each_differentiate_their_own_pass(where, run_in_mode):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        layer = affine()
        distribution = flow(layer)
    x, noise = tf.constant(X), tf.constant(X)

    def gradients():
        with tf.GradientTape(persistent=True) as tape:
            log_prob = tf.reduce_sum(distribution.log_prob(x))
            sample = tf.reduce_sum(distribution.bijector.forward(noise))
        offset = distribution.trainable_variables[1]
        return tape.gradient(log_prob, offset), tape.gradient(sample, offset)

    def step():
        return [strategy.experimental_local_results(g) for g in strategy.run(gradients)]

    by_log_prob, by_sample = run_in_mode(step, where)()
    assert len(by_log_prob) == len(by_sample) == 2
    for gradient in by_log_prob:
        np.testing.assert_allclose(gradient, -(X @ MATRIX.T + OFFSET).sum(0), rtol=1e-12)
    for gradient in by_sample:
        np.testing.assert_allclose(gradient, -3 * np.linalg.inv(MATRIX).sum(0), rtol=1e-12)
    with strategy.scope():  # between replicas, where a mirrored variable has no single handle
        log_prob = run_in_mode(distribution.log_prob, where)(x)
    np.testing.assert_allclose(log_prob, closed_form(affine(), X), rtol=1e-12)


# -- on the project's own flow -------------------------------------------------------------------


@pytest.fixture(scope="module")
def mlp():
    return tfi.mlp_flow(2, num_blocks=2, hidden_units=(16,), seed=1)


def test_a_residual_flow_is_the_same_density_to_tfp_and_to_keras(mlp, mode, run_in_mode):
    x = tf.constant(X, tf.float32)
    distribution = mlp.distribution()

    def values(x):
        noise = mlp.base.distribution().sample((2, 3), seed=SEED)
        return distribution.log_prob(x), distribution.sample((2, 3), seed=SEED), noise

    log_prob, samples, z = run_in_mode(values, mode)(x)
    np.testing.assert_allclose(log_prob, mlp.log_prob(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        np.reshape(mlp.encode(tf.reshape(samples, [6, 2])), z.shape), z, atol=1e-4
    )


def test_a_residual_flow_is_never_stale_in_eager_mode(mlp):
    x = tf.constant(X, tf.float32)
    distribution = mlp.distribution()
    sample = distribution.sample(3, seed=SEED)
    before = distribution.log_prob(x)
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(distribution.log_prob(x))
    gradients = tape.gradient(loss, mlp.trainable_weights)
    assert all(np.any(gradient != 0) for gradient in gradients)
    keras.optimizers.SGD(0.1).apply(gradients, mlp.trainable_weights)
    assert not np.allclose(before, distribution.log_prob(x), atol=1e-3)
    for value in (x, sample):
        np.testing.assert_allclose(
            distribution.log_prob(value), mlp.log_prob(tf.identity(value)), rtol=1e-5, atol=1e-5
        )
