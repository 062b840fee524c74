"""A contractive layer and an estimator of one's own work wherever those of the package do."""

import dataclasses
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.references import jacobian_log_det

import tf_iresnet as tfi
from tf_iresnet import layers, log_det
from tf_iresnet.layers.contractive import CertifiedPart
from tf_iresnet.numerics.bound_function import compose


@keras.saving.register_keras_serializable(package="test_extension")
class Scaled(layers.ContractiveLayer):
    """`x ↦ factor·h(x)`."""

    def __init__(self, layer, factor, **kwargs):
        super().__init__(**kwargs)
        self.layer, self.factor = layer, factor

    def build(self, input_shape):
        if not self.layer.built:
            self.layer.build(input_shape)

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def lipschitz_bound(self):
        return abs(self.factor) * self.layer.lipschitz_bound()

    def bind(self, condition=None, training=None):
        scale = layers.BoundFunction.pointwise(lambda x: self.factor * x)
        return compose([self.layer.bind(condition, training), scale])

    def certified_parts(self, bound, path):
        yield from self.layer.certified_parts(bound.parts[0], path)
        yield CertifiedPart(f"{path} / scale", abs(self.factor))


@dataclasses.dataclass(frozen=True)
class Determinant(log_det.LogDet):
    """One product for each dimension, and an LU factorisation."""

    name: ClassVar[str] = "test_determinant"

    def __call__(self, g, x, seed, training=False, lipschitz=1.0, proven=0.0, function=None):
        outputs, product, _ = g.linearize(x)
        basis = tf.eye(x.shape[-1], dtype=x.dtype)
        rows = [product(tf.broadcast_to(row, tf.shape(x))) for row in tf.unstack(basis)]
        value = tf.linalg.slogdet(basis + tf.stack(rows, 1))[1]
        return log_det.LogDetEstimate(outputs, value, tf.zeros_like(value))


def block(estimator="test_determinant", factor=-0.9):
    common = {"kernel_initializer": keras.initializers.RandomNormal(seed=1), "dtype": "float64"}
    hidden = layers.SpectralDense(6, 2.0, activation="sine", **common)
    last = layers.SpectralDense(3, 0.5, normalization="gram", **common)
    return layers.ResidualBlock(
        [Scaled(hidden, 0.5, dtype="float64"), Scaled(last, factor, dtype="float64")],
        estimator,
        tolerance=1e-12,
    )


MODELS = {
    "block": block,
    "repeated": lambda: layers.Repeated(block(), 3),
    "in turn": lambda: layers.InvertibleSequential([block(), layers.Inverse(block())]),
    "by a class": lambda: layers.Repeated(block(Determinant()), 2),
}


@pytest.fixture(params=MODELS)
def model(request):
    layer = MODELS[request.param]()
    layer.build((None, 3))
    random = np.random.default_rng(0)
    for weight in layer.trainable_weights:
        weight.assign(2 * random.normal(size=weight.shape))
    return layer


X = tf.constant(np.random.default_rng(1).normal(size=(5, 3)))


def test_log_dets_and_inverses_are_right(model):
    y, total = model.forward_with_log_det(X)
    np.testing.assert_allclose(total, jacobian_log_det(model, X), rtol=1e-9, atol=1e-12)
    x, back = model.inverse_with_log_det(y)
    np.testing.assert_allclose(x, X, atol=1e-9)
    np.testing.assert_allclose(back, -total, rtol=1e-9, atol=1e-9)


def test_a_certificate_knows_what_the_layer_says(model):
    certificate = tfi.certify(model, X)
    assert len(certificate.layers) == 2 * len(certificate.blocks) and certificate.invertible
    for row in certificate.blocks:
        first, second = (layer.upper_bound for layer in certificate.layers_of(row))
        assert row.lipschitz == pytest.approx(0.5 * first * 0.9 * second, rel=1e-12)
        assert row.measured <= row.lipschitz <= 0.9 * 0.5 * 1.01
    with pytest.raises(ValueError, match=r"bound below 1.*bound=1.5"):
        block(factor=3.0)


def test_it_is_saved_and_loaded_by_name(model, tmp_path):
    whole = keras.Sequential([keras.Input([3], dtype="float64"), model])
    whole.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[-1]
    for ours, theirs in zip(
        loaded.forward_with_log_det(X), model.forward_with_log_det(X), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    inner = next(loaded.blocks()).block
    assert isinstance(inner.log_det, Determinant)
    assert [layer.factor for layer in inner.branch.layers] == [0.5, -0.9]


def test_a_flow_of_them_trains():
    flow = tfi.ResidualFlow(layers.Repeated(block(), 2))
    flow.compile(optimizer=keras.optimizers.Adam(1e-2), run_eagerly=True)
    x = np.random.default_rng(0).normal(size=(64, 3)) ** 3
    losses = [flow.train_on_batch(x)[0] for _ in range(8)]
    assert losses[-1] < losses[0]
    assert tfi.certify(flow).invertible


def test_the_name_of_an_estimator_that_was_never_defined_is_refused():
    with pytest.raises(ValueError, match=r"test_determinant.*log_det='test_undefined'"):
        block("test_undefined")
