"""Invertible layers about which everything has a closed form, as TFP distributions."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

from tf_iresnet.bijectors import InvertibleBijector
from tf_iresnet.layers import InvertibleLayer
from tf_iresnet.layers.invertible import Mapped

tfb, tfd = tfp.bijectors, tfp.distributions

MATRIX = np.array([[1.5, 0.4], [-0.2, 0.8]])
OFFSET = np.array([0.3, -0.7])
X = np.array([[0.1, 0.5], [-1.2, 0.4], [2.0, -0.3]])
CONDITION = np.array([[1.0, -1.0], [0.5, 0.0], [0.0, 2.0]])


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

    def bind(self, condition=None, training=None):
        return self.matrix.value, self.offset.value + (0 if condition is None else condition)

    def push(self, bound, x, how=None):
        self.passes["call" if how is None else "pair"] += 1
        matrix, shift = bound
        return self.mapped(shift + tf.matmul(x, matrix, transpose_b=True), matrix, how)

    def pull(self, bound, y, how=None):
        self.passes["inverse"] += 1
        matrix, shift = bound
        inverse = tf.linalg.inv(matrix)
        return self.mapped(tf.matmul(y - shift, inverse, transpose_b=True), inverse, how)

    def mapped(self, value, a, how):
        if how is None:
            return Mapped(value)
        log_det = tf.math.log(a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0])
        return without_truncation(value, tf.fill([tf.shape(value)[0]], log_det))


class Bent(InvertibleLayer):
    """`y = x + tanh(W x) / 2` with `‖W‖ = 1`, solved by a fixed count of Picard steps."""

    def build(self, input_shape):
        super().build(input_shape)
        self.weight = self.add_weight(
            shape=(2, 2), initializer=constant([[0.6, 0.8], [-0.8, 0.6]]), name="weight"
        )

    def branch(self, w, x):
        return 0.5 * tf.tanh(tf.matmul(x, w, transpose_b=True))

    def push(self, bound, x, how=None):
        (w,) = bound
        gx = self.branch(w, x)
        j = (0.5 - 2 * gx**2)[:, :, None] * w
        det = (1 + j[:, 0, 0]) * (1 + j[:, 1, 1]) - j[:, 0, 1] * j[:, 1, 0]
        return Mapped(x + gx) if how is None else without_truncation(x + gx, tf.math.log(det))

    def pull(self, bound, y, how=None):
        (x,) = tf.while_loop(
            lambda x: True, lambda x: (y - self.branch(*bound, x),), (y,), maximum_iterations=55
        )
        if how is None:
            return Mapped(x)
        return without_truncation(x, -self.push(bound, x, how).log_det)


class Flatten(InvertibleLayer):
    """`[2, 2] → [4]`, doubled: another event shape on each side."""

    def compute_output_shape(self, input_shape, condition_shape=None):
        return (input_shape[0], 4)

    def push(self, bound, x, how=None):
        log_det = tf.fill([tf.shape(x)[0]], tf.constant(4 * np.log(2), x.dtype))
        return without_truncation(2 * tf.reshape(x, [-1, 4]), log_det)

    def pull(self, bound, y, how=None):
        log_det = tf.fill([tf.shape(y)[0]], tf.constant(-4 * np.log(2), y.dtype))
        return without_truncation(tf.reshape(y, [-1, 2, 2]) / 2, log_det)


def without_truncation(value, log_det):
    return Mapped(value, log_det, tf.zeros_like(log_det))


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
