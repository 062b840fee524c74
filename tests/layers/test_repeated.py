"""`Repeated` beside the same layers one after another, which is what it stands for."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import layers

PRECISE = {"tolerance": 1e-8, "max_power_iterations": 5000}
SOLVER = {"tolerance": 1e-13}


def strong(seed=1):
    return keras.initializers.RandomNormal(stddev=1.0, seed=seed)


def dense(units, activation=None, rule="power", **kwargs):
    kwargs |= PRECISE if rule == "power" else {}
    return layers.SpectralDense(
        units, 0.8, activation, kernel_initializer=strong(units), normalization=rule,
        dtype="float64", **kwargs,
    )  # fmt: skip


def residual(*branch):
    return layers.ResidualBlock(list(branch), "exact", **SOLVER)


def convolutions(rule="power"):
    common = {"coefficient": 0.8, "normalization": rule, "dtype": "float64"}
    common |= {"kernel_initializer": strong(), **(PRECISE if rule == "power" else {})}
    return residual(
        layers.SpectralConv2D(3, 3, padding="same", activation="sine", **common),
        layers.SpectralConv2D(2, 3, padding="circular", **common),
    )


def pair():
    return layers.InvertibleSequential([layers.ActNorm(dtype="float64"), residual(dense(3))])


IMAGE, VECTOR = (4, 3, 2), (3,)
# what is repeated, the event shape, and the stack of copies
CASES = {
    "power": (lambda: residual(dense(5, "lipswish"), dense(3)), VECTOR, (3,)),
    "gram": (lambda: residual(dense(5, "sine", "gram"), dense(3, None, "gram")), VECTOR, (3,)),
    "aol": (lambda: residual(dense(5, "sine", "aol"), dense(3, None, "aol")), VECTOR, (3,)),
    "images": (convolutions, IMAGE, (2,)),
    "images by gram": (lambda: convolutions("gram"), IMAGE, (2,)),
    "concat": (
        lambda: residual(layers.LipschitzConcat(dense(4, "clipswish")), dense(3)), VECTOR, (3,)
    ),
    "act_norm": (pair, VECTOR, (3,)),
    "inverse": (lambda: layers.Inverse(pair()), VECTOR, (2,)),
    "monotone": (
        lambda: layers.MonotoneBlock([dense(5, "cpila"), dense(3)], "exact", **SOLVER), VECTOR, (3,)
    ),
    "lipschitz_mlp": (
        lambda: layers.ResidualBlock(
            layers.LipschitzMLP((5, 4), 3, 0.8, "sine", seed=1, dtype="float64"), "exact", **SOLVER
        ),
        VECTOR,
        (3,),
    ),
    "conditional": (
        lambda: residual(dense(5, "sine", condition_size=2), dense(3, condition_size=2)),
        VECTOR,
        (3,),
    ),
    "nested": (pair, VECTOR, (2, 2)),
}  # fmt: skip
names = pytest.mark.parametrize("name", CASES)


def repeat(layer, stack):
    for times in reversed(stack):
        layer = layers.Repeated(layer, times)
    return layer


def copy_weights(repeated, unrolled, stack):
    """Those of each copy, sliced from the stacks."""
    for index, layer in zip(np.ndindex(stack), unrolled.layers, strict=True):
        for stacked, weight in zip(repeated.weights, layer.weights, strict=True):
            weight.assign(stacked.numpy()[index])


def both(name):
    """The repeated layer with weights away from their defaults, the unrolled one, and data."""
    make, event, stack = CASES[name]
    random = np.random.default_rng(0)
    repeated = repeat(make(), stack)
    unrolled = layers.InvertibleSequential([make() for _ in np.ndindex(stack)])
    for layer in (repeated, unrolled):
        layer.build((None, *event))
    for weight in repeated.trainable_weights:
        weight.assign_add(random.normal(size=weight.shape) / 3)
    copy_weights(repeated, unrolled, stack)
    x = tf.constant(random.normal(size=(4, *event)))
    size = repeated.condition_size
    return (
        repeated,
        unrolled,
        x,
        None if size is None else tf.constant(random.normal(size=(4, size))),
    )


@names
def test_values_log_dets_inverses_and_gradients_are_those_of_the_layers_in_turn(name):
    repeated, unrolled, x, condition = both(name)
    found = []
    for layer in (repeated, unrolled):
        weights = [weight.value for weight in layer.trainable_weights]
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, log_det = layer.forward_with_log_det(x, condition)
            inverse = layer.inverse_with_log_det(x, condition)
            total = tf.reduce_sum(tf.sin(y)) + tf.reduce_sum(log_det * [1.0, -2.0, 3.0, 0.5])
            total += tf.reduce_sum(tf.cos(inverse[0])) - tf.reduce_sum(inverse[1])
        of_x, *of_weights = tape.gradient(total, [x, *weights])
        found.append(((y, log_det, *inverse, of_x), of_weights))
    (values, stacked), (expected, separate) = found
    for ours, theirs in zip(values, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)
    copies = len(separate) // len(stacked)
    for index, gradient in enumerate(stacked):
        each = np.stack(separate[index :: len(stacked)])
        theirs = np.reshape(each, gradient.shape)
        assert len(each) == copies and np.any(theirs != 0)
        np.testing.assert_allclose(gradient, theirs, rtol=1e-5, atol=1e-6)


@names
def test_training_stores_the_same_state(name):
    """Vectors of the norm, and what data initialise."""
    _, event, stack = CASES[name]
    repeated, unrolled, _, _ = both(name)
    x = tf.constant(3 * np.random.default_rng(5).normal(size=(50, *event)) + 1)
    condition = tf.ones((50, 2)) if repeated.condition_size else None
    before = repeated.get_weights()
    tf.function(lambda: repeated(x, condition, training=True), autograph=False)()
    unrolled(x, condition, training=True)
    again = layers.InvertibleSequential([CASES[name][0]() for _ in np.ndindex(stack)])
    again.build((None, *event))
    copy_weights(repeated, again, stack)
    for ours, theirs in zip(again.get_weights(), unrolled.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    changed = [np.any(old != new) for old, new in zip(before, repeated.get_weights(), strict=True)]
    has_state = not any(rule in name for rule in ("gram", "aol", "mlp"))
    assert any(changed) == has_state


@pytest.mark.parametrize("reverse", [False, True])
def test_reports_are_of_every_solver_in_the_order_of_the_forward_pass(reverse):
    repeated, unrolled, x, _ = both("monotone")
    method = "inverse_with_report" if reverse else "forward"
    ours, theirs = getattr(repeated, method)(x), getattr(unrolled, method)(x)
    if not reverse:
        ours, theirs = ours.solution(), theirs.solution()
    assert ours.converged.shape == (3, 4) and np.all(ours.converged)
    np.testing.assert_array_equal(ours.evaluations, theirs.evaluations)
    assert np.all(ours.certified_error <= 1e-13)


def test_blocks_are_visited_in_order_with_their_inputs_and_weights():
    repeated, unrolled, x, _ = both("nested")
    for layer, indices in ((repeated, [*itertools.product(range(2), range(2))]), (unrolled, None)):
        seen = []
        y = layer.visit_blocks(x, lambda copy, inputs, s=seen: s.append((copy, inputs)))
        np.testing.assert_allclose(y, unrolled(x), rtol=1e-6)
        assert indices is None or [copy.index for copy, _ in seen] == indices
        expected = x
        for (copy, inputs), part in zip(seen, unrolled.layers, strict=True):
            act_norm, block = part.layers
            expected = act_norm(expected)
            np.testing.assert_allclose(inputs, expected, rtol=1e-6, atol=1e-8)
            np.testing.assert_allclose(copy.bound(inputs), block.branch(expected), rtol=1e-6)
            expected = block(expected)
    copies = [np.asarray(tf.nest.flatten(copy.bound)[0]) for copy in repeated.blocks()]
    assert len({kernel.tobytes() for kernel in copies}) == 4


INITIALIZERS = {
    "normal": lambda seed: keras.initializers.RandomNormal(seed=seed),
    "glorot": lambda seed: keras.initializers.GlorotUniform(seed=seed),
    "orthogonal": lambda seed: keras.initializers.Orthogonal(seed=seed),
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_copies_start_out_different_and_the_same_for_the_same_seed(name):
    def kernels(seed):
        initializer = INITIALIZERS[name](seed)
        layer = layers.SpectralDense(3, kernel_initializer=initializer)
        repeated = repeat(layers.ResidualBlock([layer]), (2, 3))
        repeated.build((None, 3))
        return repeated.layer.layer.branch.layers[0].kernel.numpy().reshape(6, 3, 3)

    assert len({kernel.tobytes() for seed in (1, 2, None, None) for kernel in kernels(seed)}) == 24
    np.testing.assert_array_equal(kernels(1), kernels(1))
    if name == "orthogonal":
        np.testing.assert_allclose(np.linalg.svd(kernels(1))[1], 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"kernel_constraint": "non_neg"}, "constraint=.*NonNeg"),
        ({"bias_constraint": keras.constraints.MaxNorm(1.0)}, "constraint=.*MaxNorm"),
        ({"kernel_regularizer": "orthogonal_regularizer"}, "regularizer=.*Orthogonal"),
        ({"kernel_regularizer": lambda kernel: tf.norm(kernel)}, "regularizer=.*lambda"),
    ],
)
def test_what_would_take_all_copies_for_one_kernel_is_refused(kwargs, message):
    repeated = layers.Repeated(layers.ResidualBlock([layers.SpectralDense(3, **kwargs)]), 2)
    with pytest.raises(ValueError, match=f"no regularizer but L1 and L2.*{message}"):
        repeated.build((None, 3))


@pytest.mark.parametrize("name", ["l1", "l2", keras.regularizers.L1L2(0.01, 0.02)])
def test_the_loss_of_a_regularizer_is_the_sum_over_copies(name):
    dense = layers.SpectralDense(3, kernel_regularizer=name, kernel_initializer=strong())
    repeated = repeat(layers.ResidualBlock([dense]), (2, 3))
    repeated.build((None, 3))
    kernels = dense.kernel.numpy().astype(np.float64)
    of_l1, of_l2 = {"l1": (0.01, 0.0), "l2": (0.0, 0.01)}.get(name, (0.01, 0.02))
    expected = of_l1 * np.abs(kernels).sum() + of_l2 * np.square(kernels).sum()
    np.testing.assert_allclose(np.sum(repeated.losses), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["act_norm", "nested", "images", "lipschitz_mlp"])
def test_keras_saves_weights_and_state(name, tmp_path):
    repeated, _, x, _ = both(name)
    model = keras.Sequential([keras.Input(x.shape[1:], dtype="float64"), repeated])
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [w.shape for w in loaded.weights] == [w.shape for w in model.weights]
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(loaded(x), model(x))
    np.testing.assert_array_equal(loaded(x + 1, training=True), model(x + 1, training=True))
    model.save_weights(tmp_path / "model.weights.h5")
    other = keras.models.clone_model(model)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(x), model(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Repeated(layers.ActNorm(), 0), "times ≥ 1.*times=0"),
        (lambda: layers.Repeated(layers.Squeeze(), 2).build((None, 4, 4, 1)), "output shape"),
        (lambda: layers.Repeated(layers.SpectralDense(2), 2), "InvertibleLayer.*SpectralDense"),
    ],
)
def test_errors_say_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_layer_that_is_built_has_no_copies():
    block = layers.ResidualBlock([layers.SpectralDense(3)])
    block.build((None, 3))
    with pytest.raises(ValueError, match=r"isn't built.*residual_block"):
        layers.Repeated(block, 2).build((None, 3))
