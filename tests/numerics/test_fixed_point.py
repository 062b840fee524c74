"""The fixed-point solver beside closed forms and Newton's method with dense float64 Jacobians."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet.numerics import fixed_point
from tf_iresnet.numerics.acceleration import Anderson, NewtonKrylov, linearize
from tf_iresnet.numerics.fixed_point import guaranteed_iterations, resolution, solve

MODES = {
    "eager": lambda f: f,
    "graph": tf.function,
    "xla": lambda f: tf.function(f, jit_compile=True),
}
BATCH, SIZE, HIDDEN, BOUND = 6, 4, 8, 0.9


def _normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def _of_norm(norm, *shape, seed=0):
    matrix = _normal(*shape, seed=seed)
    return matrix * norm / np.linalg.norm(matrix, 2)


def linear(x, kernel):
    return tf.matmul(x, kernel)


def network(x, first, second, condition):
    return tf.matmul(tf.tanh(tf.matmul(x, first) + condition), second)


def _network_inputs():
    """y, first kernel, second kernel, condition: Lip(network) ≤ 0.9."""
    return (
        tf.constant(_normal(BATCH, SIZE, seed=1)),
        tf.constant(_of_norm(BOUND, SIZE, HIDDEN, seed=2)),
        tf.constant(_of_norm(1.0, HIDDEN, SIZE, seed=3)),
        tf.constant(0.3 * _normal(BATCH, HIDDEN, seed=4)),
    )


def _solved(y, *parameters, **options):
    options = {"tolerance": 1e-12, **options}
    return solve(network, y, parameters, lipschitz=BOUND, **options).value


def _newton(y, first, second, condition):
    """The same solution by an independent route that TensorFlow can differentiate to any order."""
    x = y
    for _ in range(8):
        hidden = tf.tanh(tf.matmul(x, first) + condition)
        slopes = (1 - hidden**2)[:, tf.newaxis] * tf.transpose(second)
        jacobian = tf.eye(SIZE, dtype=y.dtype) + tf.matmul(slopes, first, transpose_b=True)
        x += tf.linalg.matvec(tf.linalg.inv(jacobian), y - x - tf.matmul(hidden, second))
    return x


def _loss(x):
    return tf.reduce_sum(tf.constant(_normal(*x.shape, seed=9), x.dtype) * tf.sin(x))


def _gradients(solution, inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = _loss(solution(*inputs))
    return tape.gradient(loss, inputs)


def _second_order(solution, inputs):
    """The gradient of a fixed functional of the gradient."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        first = _gradients(solution, inputs)
        total = tf.add_n(
            [tf.reduce_sum(_normal(*g.shape, seed=i) * g) for i, g in enumerate(first)]
        )
    return tape.gradient(total, inputs)


@pytest.mark.parametrize("method", fixed_point.METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", MODES)
def test_solves_a_linear_problem_exactly(mode, dtype, method):
    kernel, y = _of_norm(0.8, 5, 5), _normal(7, 5, seed=1)
    tolerance = {"float32": 1e-5, "float64": 1e-11}[dtype]
    run = MODES[mode](
        lambda y, kernel: solve(
            linear, y, [kernel], lipschitz=0.8, tolerance=tolerance, method=method
        )
    )
    found = run(tf.constant(y, dtype), tf.constant(kernel, dtype))
    error = np.linalg.norm(found.value - y @ np.linalg.inv(np.eye(5) + kernel), axis=1)
    assert found.value.dtype == found.residual.dtype == dtype
    assert found.iterations.dtype == tf.int32
    assert np.all(found.converged)
    assert np.all(found.residual <= tolerance)
    assert np.all(error <= tolerance)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_of_a_linear_problem_have_their_closed_form(mode):
    kernel, y = tf.constant(_of_norm(0.9, 5, 5)), tf.constant(_normal(7, 5, seed=1))
    upstream = _normal(7, 5, seed=2)

    def run(y, kernel):
        with tf.GradientTape() as tape:
            tape.watch([y, kernel])
            found = solve(linear, y, [kernel], lipschitz=0.9, tolerance=1e-13)
            loss = tf.reduce_sum(upstream * found.value)
        return found.value, *tape.gradient(loss, [y, kernel])

    x, by_y, by_kernel = MODES[mode](run)(y, kernel)
    adjoint = upstream @ np.linalg.inv(np.eye(5) + kernel.numpy()).T
    np.testing.assert_allclose(by_y, adjoint, atol=1e-11)
    np.testing.assert_allclose(by_kernel, -x.numpy().T @ adjoint, atol=1e-11)


@pytest.mark.parametrize("method", fixed_point.METHODS)
def test_gradients_in_input_weights_and_condition_match_finite_differences(method):
    inputs = _network_inputs()
    gradients = _gradients(functools.partial(_solved, method=method), inputs)
    for position, gradient in enumerate(gradients):
        direction = _normal(*gradient.shape, seed=20 + position)
        losses = []
        for step in (1e-5, -1e-5):
            moved = list(inputs)
            moved[position] = moved[position] + step * direction
            losses.append(float(_loss(_newton(*moved))))
        slope = np.sum(gradient * direction)
        assert slope == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("mode", MODES)
def test_first_and_second_order_gradients_match_newtons(mode):
    inputs = _network_inputs()
    np.testing.assert_allclose(_solved(*inputs), _newton(*inputs), atol=1e-12)
    run = MODES[mode](lambda *inputs: _second_order(_solved, inputs))
    for ours, reference in zip(run(*inputs), _second_order(_newton, inputs), strict=True):
        np.testing.assert_allclose(ours, reference, atol=1e-9)
    for ours, reference in zip(
        MODES[mode](lambda *inputs: _gradients(_solved, inputs))(*inputs),
        _gradients(_newton, inputs),
        strict=True,
    ):
        np.testing.assert_allclose(ours, reference, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_variables_that_g_reads_get_their_gradient(mode):
    y, first, second, condition = _network_inputs()
    variable, frozen = tf.Variable(first), tf.Variable(second, trainable=False)

    def run():
        with tf.GradientTape() as outer:
            with tf.GradientTape() as tape:
                found = solve(
                    lambda x: network(x, variable, frozen, condition),
                    y,
                    lipschitz=BOUND,
                    tolerance=1e-12,
                )
                loss = _loss(found.value)
            gradient = tape.gradient(loss, variable)
            total = tf.reduce_sum(gradient**2)
        return gradient, outer.gradient(total, variable)

    def reference(first):
        with tf.GradientTape() as outer:
            outer.watch(first)
            gradient = _gradients(lambda first: _newton(y, first, second, condition), (first,))[0]
            total = tf.reduce_sum(gradient**2)
        return gradient, outer.gradient(total, first)

    for ours, expected in zip(MODES[mode](run)(), reference(first), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_directional_derivative_by_differentiating_a_pullback():
    y, *parameters = _network_inputs()
    tangent = tf.constant(_normal(BATCH, SIZE, seed=5))
    with tf.GradientTape() as outer:
        unused = tf.zeros_like(y)
        outer.watch(unused)
        with tf.GradientTape() as tape:
            tape.watch(y)
            x = _solved(y, *parameters)
        pullback = tape.gradient(x, y, unused)
    derivative = outer.gradient(pullback, unused, tangent)
    step = 1e-6 * tangent
    expected = (_newton(y + step, *parameters) - _newton(y - step, *parameters)) / 2e-6
    np.testing.assert_allclose(derivative, expected, atol=1e-8)


def test_forward_mode_is_refused_where_it_would_be_wrong():
    y, *parameters = _network_inputs()
    with (
        pytest.raises(NotImplementedError, match="Expected reverse mode"),
        tf.autodiff.ForwardAccumulator(y, y),
    ):
        _solved(y, *parameters)


def test_a_tensor_may_be_listed_twice_and_integers_may_be_listed():
    y, first, second, _ = _network_inputs()
    labels = tf.constant([0, 2, 1, 2, 0, 1])
    table = tf.constant(_normal(3, HIDDEN, seed=6))

    def g(x, first, again, second, table, labels):
        return network(x, (first + again) / 2, second, tf.gather(table, labels))

    def ours(first, table):
        parameters = [first, first, second, table, labels]
        return solve(g, y, parameters, lipschitz=BOUND, tolerance=1e-12).value

    def reference(first, table):
        return _newton(y, first, second, tf.gather(table, labels))

    for gradient, expected in zip(
        _gradients(ours, (first, table)), _gradients(reference, (first, table)), strict=True
    ):
        np.testing.assert_allclose(gradient, tf.convert_to_tensor(expected), atol=1e-10)


def test_a_loose_tolerance_does_not_loosen_the_gradient():
    kernel = tf.constant(_of_norm(0.9, 5, 5))
    y = tf.constant(100 * _normal(7, 5, seed=1))
    with tf.GradientTape() as tape:
        tape.watch(y)
        found = solve(linear, y, [kernel], lipschitz=0.9, tolerance=10.0)
    assert np.max(found.residual) > 0.1
    exact = np.tile(np.linalg.inv(np.eye(5) + kernel.numpy()).sum(1), [7, 1])
    np.testing.assert_allclose(tape.gradient(found.value, y), exact, atol=3e-5)


def test_resolution_knows_the_size_of_what_it_gets():
    y = tf.constant([[3.0, 4.0], [3e30, 4e30], [0.0, 0.0]])
    expected = 16 * np.finfo("float32").eps * np.array([5, 5e30, 0]) / 0.1
    np.testing.assert_allclose(resolution(y, 0.9), expected, rtol=1e-5)
    assert resolution(tf.cast(y, tf.float64), 0.9)[0] < 1e-8 * expected[0]


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_gradients_scale_with_what_comes_in(scale):
    y, *parameters = (tf.cast(t, tf.float32) for t in _network_inputs())

    def run(scale):
        with tf.GradientTape() as tape:
            tape.watch(y)
            x = solve(network, y, parameters, lipschitz=BOUND).value
        return tape.gradient(x, y, scale * tf.ones_like(x))

    np.testing.assert_allclose(run(scale) / scale, run(1.0), rtol=1e-4)


@pytest.mark.parametrize("method", fixed_point.METHODS)
@pytest.mark.parametrize("bound", [0.3, 0.9, 0.97])
def test_anchor_07_the_certified_error_bounds_the_true_error_at_every_iterate(bound, method):
    kernel = tf.constant(_of_norm(bound, 12, 12))
    y = tf.constant(_normal(20, 12, seed=1))
    exact = y @ np.linalg.inv(np.eye(12) + kernel.numpy())
    for cap in range(1, 14):
        found = solve(
            linear, y, [kernel], lipschitz=bound, tolerance=1e-6, max_iterations=cap, method=method
        )
        error = np.linalg.norm(found.value - exact, axis=1)
        residual = np.linalg.norm(y - found.value - found.value @ kernel, axis=1) / (1 - bound)
        assert np.all(error <= found.residual)
        assert np.all(residual <= found.residual * (1 + 1e-9) + 1e-12)
        assert np.all(found.converged == (found.residual <= 1e-6))
        assert np.all(found.iterations <= cap)


@pytest.mark.parametrize("method", fixed_point.METHODS)
def test_anchor_07_examples_neither_wait_for_nor_influence_each_other(method):
    first, second = _of_norm(0.97, SIZE, HIDDEN), _of_norm(1, HIDDEN, SIZE, seed=1)
    y = _normal(5, SIZE, seed=2)
    shift = np.full([5, HIDDEN], 50.0)  # where tanh is flat, g is constant
    shift[2] = 0
    run = functools.partial(solve, network, lipschitz=0.97, tolerance=1e-10, method=method)
    found = run(y, [first, second, shift])
    assert np.all(found.converged)
    assert np.all(np.delete(found.iterations, 2) == 2)
    assert found.iterations[2] > (3 if method == "newton_krylov" else 5)
    y[2], shift[2] = _normal(SIZE, seed=8), 50.0
    alone = run(y, [first, second, shift])
    y[2] = np.nan
    beside_nan = run(y, [first, second, shift])
    for other in (alone, beside_nan):
        for ours, theirs in zip(found, other, strict=True):
            np.testing.assert_array_equal(np.delete(ours, 2, 0), np.delete(theirs, 2, 0))
    assert not beside_nan.converged[2]


@pytest.mark.parametrize("mode", MODES)
def test_anchor_07_failure_is_reported_for_the_example_it_concerns(mode):
    slopes = tf.constant([[0.05], [-0.97], [3.0]])  # the last one breaks the bound
    run = MODES[mode](
        lambda y: solve(
            lambda x, slopes: slopes * tf.sin(x),
            y,
            [slopes],
            lipschitz=0.97,
            max_iterations=8,
            method="picard",
        )
    )
    found = run(tf.constant([[1.0], [0.1], [2.0]]))
    np.testing.assert_array_equal(found.converged, [True, False, False])
    np.testing.assert_array_equal(found.residual <= 1e-5, found.converged)
    assert found.iterations[1] == 8
    assert found.iterations[2] < 8  # a Picard step that doesn't descend settles it
    for bound in (tf.constant(1.0), tf.constant(1.5)):
        tolerance = resolution(tf.ones([2, 1]), bound)
        unproven = solve(linear, tf.ones([2, 1]), [[[0.1]]], lipschitz=bound, tolerance=tolerance)
        assert not np.any(unproven.converged)
        assert np.all(np.isinf(unproven.residual))
        assert np.all(unproven.iterations < 50)  # what is found is kept, though nothing proves it
        np.testing.assert_allclose(unproven.value, 1 / 1.1, rtol=1e-6)


def test_anchor_07_the_gradient_is_implicit_not_that_of_the_iterations():
    # Unrolled, an iteration's gradient is as right as it is long; this one is over at the start.
    y = tf.zeros([1, 2], tf.float64)  # solved by x = 0 at once
    kernel = tf.constant(_of_norm(0.9, 2, 2))
    with tf.GradientTape() as tape:
        tape.watch(y)
        found = solve(linear, y, [kernel], lipschitz=0.9, tolerance=1e-12)
    assert found.iterations[0] == 1
    exact = np.linalg.inv(np.eye(2) + kernel.numpy()).sum(1)
    np.testing.assert_allclose(tape.gradient(found.value, y)[0], exact, atol=1e-11)


def test_adjoint_that_does_not_converge_gives_nan_for_its_example_only():
    slopes = tf.constant([[0.2], [-0.97]], tf.float64)
    y = tf.constant([[0.3], [0.3]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(y)
        found = solve(
            lambda x, slopes: slopes * tf.sin(x),
            y,
            [slopes],
            lipschitz=0.97,
            tolerance=1e-6,
            max_iterations=12,
            method="picard",
        )
    gradient = tape.gradient(found.value, y)
    assert float(gradient[0, 0]) == pytest.approx(
        1 / (1 + 0.2 * np.cos(found.value[0, 0])), rel=1e-6
    )
    assert np.isnan(gradient[1, 0])


def test_only_the_value_carries_gradients():
    variable = tf.Variable([[0.5]])
    y = tf.constant([[1.0]])
    with tf.GradientTape() as tape:
        tape.watch(y)
        found = solve(lambda x: tf.tanh(x) @ variable, y, lipschitz=0.5, max_iterations=2)
    assert tape.gradient(found.residual, [y, variable]) == [None, None]


@pytest.mark.parametrize("method", fixed_point.METHODS)
def test_round_off_ends_the_search_and_is_not_called_success(method):
    kernel, y = _of_norm(0.97, 64, 64), _normal(30, 64, seed=1)
    arguments = linear, tf.constant(y, tf.float32), [tf.constant(kernel, tf.float32)]
    found = solve(*arguments, lipschitz=0.97, tolerance=1e-12, method=method)
    assert not np.any(found.converged)
    assert np.max(found.iterations) < 150  # of 1,000
    floor = resolution(arguments[1], 0.97)
    assert np.all(found.residual <= floor)
    assert np.all(floor <= 100 * found.residual)
    attainable = solve(*arguments, lipschitz=0.97, tolerance=floor, method=method)
    assert np.all(attainable.converged)


def test_others_need_fewer_evaluations_than_picard_on_strongly_coupled_problems():
    # Symmetric with eigenvalues over the whole of [−0.97, 0.97].
    rotation = np.linalg.qr(_normal(16, 16))[0]
    y = _normal(50, 16, seed=1)
    problems = {
        "linear": (linear, [rotation * np.linspace(-0.97, 0.97, 16) @ rotation.T]),
        "network": (network, [0.97 * rotation, -rotation.T, np.zeros([1, 16])]),
    }
    for g, parameters in problems.values():
        counts = {}
        for method in fixed_point.METHODS:
            found = solve(g, 0.1 * y, parameters, lipschitz=0.97, method=method)
            assert np.all(found.converged)
            counts[method] = np.mean(found.iterations)
        assert counts["anderson"] < 0.5 * counts["picard"]
        assert counts["newton_krylov"] < 0.25 * counts["picard"]


@pytest.mark.parametrize("mode", MODES)
def test_products_with_the_jacobian_are_those_of_its_matrix(mode):
    x, first, second, condition = _network_inputs()
    vectors = tf.constant(_normal(BATCH, SIZE, seed=5))

    def run(x):
        image, jacobian = linearize(lambda x: network(x, first, second, condition), x)
        return image, jacobian(vectors), jacobian(jacobian(vectors))

    image, once, twice = MODES[mode](run)(x)
    slopes = 1 - np.tanh(x @ first + condition) ** 2
    matrices = np.einsum("jh,bh,hi->bij", first, slopes, second)
    np.testing.assert_allclose(image, network(x, first, second, condition), rtol=1e-12)
    np.testing.assert_allclose(once, np.einsum("bij,bj->bi", matrices, vectors), atol=1e-12)
    np.testing.assert_allclose(
        twice, np.einsum("bij,bjk,bk->bi", matrices, matrices, vectors), atol=1e-12
    )


def test_newton_krylov_solves_a_linear_problem_in_as_many_products_as_there_are_eigenvalues():
    # GMRES is exact then; the two evaluations before it are those at y and after a Picard step.
    rotation = np.linalg.qr(_normal(16, 16))[0]
    kernel = rotation * np.repeat([-0.97, -0.5, 0.3, 0.9], 4) @ rotation.T
    y = tf.constant(_normal(7, 16, seed=1))
    found = solve(
        linear, y, [kernel], lipschitz=0.97, tolerance=1e-10, method=NewtonKrylov(products=4)
    )
    assert np.all(found.converged)
    assert np.all(found.iterations == 3) and np.all(found.products == 4)
    np.testing.assert_allclose(found.value, y @ np.linalg.inv(np.eye(16) + kernel), atol=1e-10)


def test_only_newton_krylov_makes_products():
    y, *parameters = _network_inputs()
    counts = {
        method: np.sum(solve(network, y, parameters, lipschitz=BOUND, method=method).products)
        for method in fixed_point.METHODS
    }
    assert counts.pop("newton_krylov") > 0
    assert set(counts.values()) == {0}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", fixed_point.METHODS)
def test_where_it_starts_changes_the_work_and_not_the_result(mode, method):
    y, *parameters = _network_inputs()
    exact = _newton(y, *parameters)
    # At the solution, near it, far away, and nowhere.
    distances = np.array([[0.0], [1e-6], [0.1], [10.0], [np.nan], [np.inf]])
    start = exact + distances * _normal(BATCH, SIZE, seed=7)

    def run(y, start):
        with tf.GradientTape() as tape:
            tape.watch([y, start])
            found = solve(
                network, y, parameters, lipschitz=BOUND, tolerance=1e-9, method=method, start=start
            )
            loss = _loss(found.value)
        return found, tape.gradient(loss, y)

    found, gradient = MODES[mode](run)(y, start)
    assert np.all(found.converged)
    np.testing.assert_allclose(found.value, exact, atol=1e-9)
    expected = _gradients(lambda y: _newton(y, *parameters), (y,))[0]
    np.testing.assert_allclose(gradient, expected, atol=1e-7)
    cold = solve(network, y, parameters, lipschitz=BOUND, tolerance=1e-9, method=method)
    assert found.iterations[0] == 1
    assert found.iterations[1] < cold.iterations[1]
    np.testing.assert_array_equal(found.iterations[4:], cold.iterations[4:])


def test_no_gradient_reaches_the_start():
    y, *parameters = _network_inputs()
    start = y + 0.0
    with tf.GradientTape() as tape:
        tape.watch(start)
        found = solve(network, y, parameters, lipschitz=BOUND, start=start)
    assert tape.gradient(found.value, start) is None


def test_anderson_survives_a_candidate_outside_the_domain():
    # The slope of x + g(x) is 0.03 up to 20 and 1 beyond: the secant from the first two points
    # leads to x = 333, where g isn't a number. The solution is 29.4.
    def g(x):
        return -0.97 * tf.minimum(x, 20) + tf.where(x < 100, 0 * x, np.nan)

    found = solve(g, np.array([[10.0]]), lipschitz=0.97)
    assert found.converged[0]
    assert float(found.value[0, 0]) == pytest.approx(29.4)


@pytest.mark.parametrize("method", fixed_point.METHODS)
def test_evaluations_are_counted_honestly(method):
    calls = []

    def g(x, kernel):
        calls.append(1)
        return tf.tanh(x) @ kernel

    found = solve(g, _normal(1, 5), [_of_norm(0.9, 5, 5)], lipschitz=0.9, method=method)
    assert found.converged[0]
    assert int(found.iterations[0]) == len(calls)


@pytest.mark.parametrize("bound", [0.0, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("residual", [0.0, 1e-7, 1.0, 40.0])
def test_guaranteed_iterations_are_the_fewest_that_suffice(bound, residual):
    steps = guaranteed_iterations(bound, residual, 1e-5)
    assert bound**steps * residual / (1 - bound) <= 1e-5 * (1 + 1e-9)
    assert steps == 0 or bound ** (steps - 1) * residual / (1 - bound) > 1e-5


@pytest.mark.parametrize("bound", [0.0, 0.1, 0.5, 0.9])
def test_picard_keeps_the_guarantee(bound):
    # This map shrinks nothing more than it must; one evaluation comes before the first step.
    y = np.array([[3.0, 0.0]])
    found = solve(lambda x: bound * x[:, ::-1] * [1.0, -1.0], y, lipschitz=bound, method="picard")
    assert np.all(found.converged)
    assert int(found.iterations[0]) <= guaranteed_iterations(bound, bound * 3.0, 1e-5) + 1


def test_lipschitz_and_tolerance_may_differ_by_example():
    slopes = np.array([[0.1], [0.9]])
    tolerance = np.array([1e-3, 1e-9])
    found = solve(
        lambda x: slopes * tf.sin(x),
        np.ones([2, 1]),
        lipschitz=tf.constant([0.1, 0.9], tf.float64),
        tolerance=tolerance,
    )
    assert np.all(found.converged)
    residual = np.abs(1 - found.value - slopes * np.sin(found.value))[:, 0]
    assert np.all(residual / [0.9, 0.1] <= found.residual + 1e-15)
    assert np.all(found.residual <= tolerance)


@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 4, 4, 3), (0, 4)])
def test_event_and_batch_of_any_shape(shape):
    y = tf.constant(_normal(*shape), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(y)
        found = solve(lambda x: 0.5 * tf.sin(x), y, lipschitz=0.5)
    np.testing.assert_allclose(found.value + 0.5 * np.sin(found.value), y, atol=1e-5)
    assert found.value.shape == shape
    assert found.iterations.shape == found.residual.shape == found.converged.shape == shape[:1]
    expected = 1 / (1 + 0.5 * np.cos(found.value))
    np.testing.assert_allclose(tape.gradient(found.value, y), expected, atol=1e-5)


def test_batch_size_may_be_unknown_when_traced():
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    def run(y):
        return solve(lambda x: 0.5 * tf.sin(x), y, lipschitz=0.5)

    for batch in (1, 4):
        y = _normal(batch, 3).astype("float32")
        found = run(y)
        np.testing.assert_allclose(found.value + 0.5 * np.sin(found.value), y, atol=1e-5)
        assert found.iterations.shape == [batch]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_solved_in_float32(dtype):
    y, kernel = tf.cast(_normal(4, 5), dtype), tf.cast(_of_norm(0.9, 5, 5), dtype)
    with tf.GradientTape() as tape:
        tape.watch([y, kernel])
        found = solve(linear, y, [kernel], lipschitz=0.91)
    exact = tf.cast(y, tf.float64) @ np.linalg.inv(np.eye(5) + tf.cast(kernel, tf.float64))
    assert np.all(found.converged)
    assert found.value.dtype == tf.float32
    np.testing.assert_allclose(found.value, exact, atol=1e-5)
    assert [g.dtype for g in tape.gradient(found.value, [y, kernel])] == [dtype, dtype]


Y = np.ones([2, 3])
ERRORS = {
    "method": (lambda: solve(tf.sin, Y, lipschitz=0.5, method="newton"), "method='newton'"),
    "lipschitz": (lambda: solve(tf.sin, Y, lipschitz=1.0), "lipschitz=1.0"),
    "cap": (lambda: solve(tf.sin, Y, lipschitz=0.5, max_iterations=0), "max_iterations=0"),
    "depth": (lambda: Anderson(depth=0), "depth=0"),
    "products": (lambda: NewtonKrylov(products=0), "products=0"),
    "integers": (lambda: solve(tf.sin, [[1]], lipschitz=0.5), "int32"),
    "no batch": (lambda: solve(tf.sin, 1.0, lipschitz=0.5), r"\(\) float32"),
    "shape of g": (lambda: solve(lambda x: x[:, :2], Y, lipschitz=0.5), r"\(2, 2\) float64"),
    "dtype of g": (lambda: solve(lambda x: tf.cast(x, "float32"), Y, lipschitz=0.5), "float32"),
    "guarantee": (lambda: guaranteed_iterations(1.2, 1, 1e-5), "lipschitz=1.2"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_wrong_arguments_are_named(name):
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=rf"Expected.*Received.*{message}"):
        call()
