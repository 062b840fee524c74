"""Checkpoints, modules and Keras find every weight, and `trainable` reaches what it names."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layers.test_contract import EVENT, EVENTS, LAYERS

import tf_iresnet as tfi
from tf_iresnet import layers


def dense(features=2, **kwargs):
    return layers.SpectralDense(features, 0.8, **kwargs)


def block(features=2, **kwargs):
    return layers.ResidualBlock([dense(4, activation="lipswish"), dense(features)], **kwargs)


@keras.saving.register_keras_serializable("test_tracking")
class Users(layers.InvertibleLayer):
    """A user's layer, with layers and weights in a dict, a tuple in a list, and a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.by_name = {"first": block(), "second": block()}
        self.pairs = [(block(), block())]
        self.shifts = []

    def build(self, input_shape):
        super().build(input_shape)
        for layer in self.parts():
            layer.build(input_shape)
        for name in ("a", "b"):
            self.shifts.append(self.add_weight((2,), "random_normal", name=name))

    def parts(self):
        return [*self.by_name.values(), *self.pairs[0]]

    def get_config(self):
        return keras.layers.Layer.get_config(self)


def functional():
    inputs = keras.Input([2])
    return keras.Model(inputs, keras.layers.Dense(1)(block()(inputs)))


def built(model, event=(2,)):
    model.build((None, *event))
    return model


# Beside the layers of the contract: models, and what only holds a layer.
MODELS = {
    "flow": lambda: tfi.mlp_flow(2, num_blocks=2, hidden_units=(4,), base="learned_normal"),
    "classifier": lambda: built(tfi.IResNetClassifier([layers.ActNorm(), block()], 3)),
    "hybrid": lambda: built(tfi.HybridFlow([layers.ActNorm(), block()], 3)),
    "functional": functional,
    "sequential": lambda: keras.Sequential([keras.Input([2]), block(), keras.layers.Dense(1)]),
    "a user's": lambda: built(Users()),
}
CASES = MODELS | {
    name: lambda name=name: built(LAYERS[name]("float32"), EVENTS.get(name, EVENT))
    for name in LAYERS
}


def scrambled(model, seed=0):
    """The model with random values in all its weights."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    return model


def stored(path):
    """How many variables a checkpoint has."""
    names = [name for name, _ in tf.train.list_variables(path)]
    return len([name for name in names if "_CHECKPOINTABLE" not in name])


@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_has_each_weight_once_and_restores_it(name, tmp_path):
    model, other = scrambled(CASES[name](), 0), scrambled(CASES[name](), 1)
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "saved"))
    assert stored(path) == len(model.weights)
    status = tf.train.Checkpoint(model=other).read(path)
    status.assert_consumed()
    status.assert_existing_objects_matched()
    for weight, restored in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(weight, restored)


def test_a_flow_restored_from_a_checkpoint_has_the_same_density(tmp_path):
    x = np.float32([[0.1, 0.2], [-1.0, 0.5]])
    flow, other = (
        tfi.mlp_flow(2, num_blocks=2, hidden_units=(4,), activation="sine", seed=seed)
        for seed in (0, 1)
    )
    flow.compile("adam")
    flow.optimizer.build(flow.trainable_variables)
    assert np.abs(flow.log_prob(x) - other.log_prob(x)).min() > 1e-3
    path = tf.train.Checkpoint(model=flow).write(str(tmp_path / "saved"))
    assert stored(path) == len(flow.weights) + len(flow.optimizer.variables)
    tf.train.Checkpoint(model=other).read(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(flow.log_prob(x), other.log_prob(x))


@pytest.mark.parametrize("name", ["residual_lipschitz_mlp", "repeated", "multi_scale"])
def test_a_checkpoint_read_before_the_build_is_restored_by_it(name, tmp_path):
    event = EVENTS.get(name, EVENT)
    layer = scrambled(CASES[name]())
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "saved"))
    other = LAYERS[name]("float32")
    status = tf.train.Checkpoint(layer=other).read(path)
    other.build((None, *event))
    status.assert_consumed()
    for weight, restored in zip(layer.weights, other.weights, strict=True):
        np.testing.assert_array_equal(weight, restored)


class Holder(tf.Module):
    def __init__(self, child):
        super().__init__()
        self.child = child


def ids(variables):
    return sorted(id(getattr(variable, "_value", variable)) for variable in variables)


@pytest.mark.parametrize("name", ["flow", "hybrid", "a user's", "repeated", "multi_scale"])
def test_a_module_has_the_variables_of_the_layer_that_it_holds(name):
    layer = CASES[name]()
    for module in (Holder(layer), Holder({"one": [layer]}), Holder(Holder(layer))):
        for trainable in (True, False):
            layer.trainable = trainable
            assert ids(module.variables) == ids(layer.variables)
            assert ids(module.trainable_variables) == ids(layer.trainable_variables)


def test_a_module_that_holds_a_flow_is_exported_with_its_weights(tmp_path):
    class Density(Holder):
        @tf.function(input_signature=[tf.TensorSpec([None, 2])])
        def log_prob(self, x):
            return self.child.log_prob(x)

    flow = scrambled(built(tfi.ResidualFlow([layers.ActNorm(), layers.ActNorm()])))
    x = tf.constant([[0.1, 0.2], [-1.0, 0.5]])
    tf.saved_model.save(Density(flow), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.log_prob(x), flow.log_prob(x), rtol=1e-5)


def test_keras_files_hold_no_weight_twice(tmp_path):
    import h5py

    model = CASES["flow"]()
    model.save_weights(tmp_path / "flow.weights.h5")
    sizes = []
    with h5py.File(tmp_path / "flow.weights.h5") as file:
        file.visititems(lambda _, item: sizes.append(getattr(item, "shape", None)))
    assert len([shape for shape in sizes if shape is not None]) == len(model.weights)


# -- freezing -------------------------------------------------------------------------------------

# What is frozen, and what of the model is left: by the part of it that is frozen.
PARTS = {
    "the model": lambda flow: flow,
    "the network": lambda flow: flow.layer,
    "Repeated": lambda flow: flow.layer.layers[0],
    "its template": lambda flow: flow.layer.layers[0].layer,
    "a block": lambda flow: flow.layer.layers[0].layer.layers[1],
    "a layer of a branch": lambda flow: flow.layer.layers[0].layer.layers[1].branch.layers[0],
    "an activation": lambda flow: (
        flow.layer.layers[0].layer.layers[1].branch.layers[0].nonlinearity
    ),
    "the base": lambda flow: flow.base,
}


@pytest.mark.parametrize("part", PARTS)
def test_trainable_reaches_what_it_names_and_nothing_else(part):
    flow = CASES["flow"]()
    before = ids(flow.trainable_weights)
    named = PARTS[part](flow)
    own = ids(named.trainable_weights)
    named.trainable = False
    assert own and ids(flow.trainable_weights) == sorted(set(before) - set(own))
    flow.trainable = True  # it is already, but not all of it
    assert ids(flow.trainable_weights) == before


@pytest.mark.parametrize("how", ["constructor", "before build", "after build", "loaded"])
@pytest.mark.parametrize("kind", ["residual", "repeated", "nested"])
def test_a_frozen_layer_is_frozen_for_every_parent(kind, how):
    make = {
        "residual": block,
        "repeated": lambda **kwargs: layers.Repeated(block(), 3, **kwargs),
        "nested": lambda **kwargs: layers.InvertibleSequential(
            [layers.Inverse(block()), layers.MultiScale([block()])], **kwargs
        ),
    }[kind]
    layer = make(trainable=how != "constructor")
    if how == "loaded":
        layer.trainable = False
        layer = type(layer).from_config(layer.get_config())
    elif how == "before build":
        layer.trainable = False
    parent = built(layers.InvertibleSequential([layer, layers.ActNorm()]))
    if how == "after build":
        layer.trainable = False
    assert [weight.name for weight in parent.trainable_weights] == ["log_scale", "shift"]
    layer.trainable = True
    assert len(parent.trainable_weights) > 2


def test_the_weights_of_frozen_parts_stay_as_they_are():
    x = np.random.default_rng(0).normal(size=(32, 2)).astype("float32")
    frozen, learning = block(log_det="exact"), layers.ActNorm()
    flow = built(tfi.ResidualFlow([layers.Rescale(2.0), frozen, learning]))
    frozen.trainable = False
    before = [weight.numpy() for weight in frozen.weights if weight.name in ("kernel", "bias")]
    flow.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    flow.fit(x, epochs=1, verbose=0)
    after = [weight.numpy() for weight in frozen.weights if weight.name in ("kernel", "bias")]
    assert len(before) == 4
    np.testing.assert_array_equal(np.concatenate(before, None), np.concatenate(after, None))
    assert np.abs(learning.log_scale).max() > 0


def test_fit_of_a_frozen_model_warns_and_changes_nothing():
    x = np.random.default_rng(0).normal(size=(32, 2)).astype("float32") + 3
    flow = built(tfi.ResidualFlow([layers.ActNorm(), block(log_det="exact")]))
    for model in (flow, keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])):
        model.trainable = False
        before = model.get_weights()
        model.compile("adam", **({} if hasattr(model, "log_prob") else {"loss": "mse"}))
        with pytest.warns(UserWarning, match="does not have any trainable weights"):
            history = model.fit(x, x[:, :1] if model.count_params() == 3 else None, verbose=0)
        assert np.isfinite(history.history["loss"]).all()
        for weight, value in zip(model.weights, before, strict=True):
            if not weight.name.endswith(("vector", "sketch")):
                np.testing.assert_array_equal(weight, value)


def test_data_initialise_no_frozen_act_norm():
    x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32") * 5 + 3
    for kind in (lambda layer: layer, lambda layer: layers.Repeated(layer, 2)):
        pair = layers.InvertibleSequential([layers.ActNorm(), layers.ActNorm()])
        layer = built(kind(pair))
        first, second = pair.layers
        first.trainable = False
        y = layer(x, training=True)
        assert not np.any(first.initialized) and not np.any(first.shift)
        np.testing.assert_allclose(np.std(y, 0), 1, atol=1e-3)  # the second one does it alone
        assert np.all(second.initialized)
        first.trainable = True
        layer(x, training=True)
        assert np.all(first.initialized)
