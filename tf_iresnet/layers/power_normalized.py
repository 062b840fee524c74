"""A layer whose norm power iteration estimates, from where it got to the last time."""

import math

import numpy as np
import tensorflow as tf

from tf_iresnet.layers.contractive import ContractiveLayer
from tf_iresnet.numerics import spectral_norm
from tf_iresnet.numerics.operators import MATRIX, Operator


class PowerNormalized(ContractiveLayer):
    """The state of the rule "power" of a spectral layer, which gives the attributes named here.

    It is `vector`, where training's power iteration got to, and `rival`, the vector that may come
    to lead; and what `store_norm` found: `leading`, the vector of a kernel, and `sketch`, which
    tells that kernel from others.
    """

    operator: Operator = MATRIX
    slack = 1.0  # what the norm may exceed that of `operator` by
    coefficient: float
    units: int
    power_iterations: int | None
    tolerance: float
    max_power_iterations: int

    def _operand(self, kernel: tf.Tensor) -> tf.Tensor:
        """The kernel as `operator` takes it."""
        return kernel

    def _vector_shape(self) -> tuple[int, ...]:
        return (self.units,)

    def _build_power(self) -> None:
        self.vector = self._add_state("vector", self._vector_shape(), self._first_vector)
        self.rival = self._add_state("rival", self.vector.shape, lambda: self._generic_vector(1))
        self.leading = self._add_state("leading", self.vector.shape, lambda: self.vector.value)
        sketch_shape = (int(np.prod(self.kernel.shape[:-1])), 4)
        self.sketch = self._add_state("sketch", sketch_shape, self._sketch)

    def _add_state(self, name, shape, value):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=lambda shape, dtype: tf.cast(value(), dtype),
            trainable=False,
            aggregation="none",  # made from weights only, so replicas agree
        )

    def _power_normalized(self, kernel: tf.Tensor, training: bool | None) -> tf.Tensor:
        start, rival = self._power_start(kernel, training)
        normalized, vector = self._power_normalize(kernel, start, self.operator, self.slack)
        if training:
            self.vector.assign(vector)
            self.rival.assign(rival)
        return normalized

    def _power_start(self, kernel: tf.Tensor, training: bool | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Where to iterate from, and the rival as it is after that."""
        vector, rival = self.vector.value, self.rival.value
        if self.power_iterations is not None:
            return vector, rival  # as the papers do
        if training:
            return spectral_norm.contest(self._operand(kernel), vector, rival, self.operator)
        return self._start(kernel), rival

    def _power_normalize(
        self, kernel: tf.Tensor, start: tf.Tensor, operator: Operator, slack: float
    ) -> tuple[tf.Tensor, tf.Tensor]:
        sigma, vector = self._iterated(kernel, start, operator)
        limit = self.coefficient / slack
        return kernel / tf.maximum(tf.ones_like(sigma), sigma / limit), vector

    def _iterated(
        self, kernel: tf.Tensor, start: tf.Tensor, operator: Operator
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return spectral_norm.power_iteration(
            self._operand(kernel),
            start,
            self.tolerance,
            self.max_power_iterations,
            self.power_iterations,
            operator=operator,
        )

    def _first_vector(self) -> tf.Tensor:
        """A fresh layer is normalised before its first use."""
        kernel = self.kernel.value
        return self._iterated(kernel, self._found_vector(kernel), self.operator)[1]

    def _found_vector(self, kernel: tf.Tensor) -> tf.Tensor:
        """The vector of a kernel that nothing is known of."""
        return self._better_vector(kernel, self._generic_vector(0), rounds=4)

    def _better_vector(self, kernel: tf.Tensor, vector: tf.Tensor, rounds: int) -> tf.Tensor:
        operand = self._operand(kernel)
        return spectral_norm.leading_vector(operand, vector, self._generic(), rounds, self.operator)

    def _draws(self) -> tf.Tensor:
        """Fixed random vectors `[units, 4]`."""
        draws = np.random.default_rng(0).normal(size=(self.units, 4))
        return tf.constant(draws, self.variable_dtype)

    def _generic(self) -> tf.Tensor:
        """Fixed random vectors of the outputs' space, stacked."""
        return self._draws()

    def _generic_vector(self, index: int) -> tf.Tensor:
        return tf.gather(self._generic(), index, axis=self.operator.axis)

    def _sketch(self, kernel: tf.Tensor | None = None) -> tf.Tensor:
        """Four random combinations of the kernel's columns, by which a change of it is noticed."""
        kernel = self.kernel.value if kernel is None else kernel
        matrix = tf.reshape(kernel, [-1, kernel.shape[-1]])
        return tf.matmul(matrix, tf.cast(self._draws(), kernel.dtype))

    def _start(self, kernel: tf.Tensor) -> tf.Tensor:
        """`leading` if the kernel is the one it was stored for, else a start that took a search.

        A vector from before the weights changed may be as good as orthogonal to the direction that
        grew, and no residual would tell.
        """
        leading = self.leading.value
        kernel = tf.stop_gradient(kernel)
        # An unbiased estimate of ‖ΔW‖² in the Frobenius norm. The norm can't change by more than
        # ‖ΔW‖, that of an operator whose kernel has many taps by more than √taps ‖ΔW‖.
        taps = math.prod(kernel.shape[:-2])
        change = 2 * tf.nn.l2_loss(self._sketch(kernel) - self.sketch.value) / 4 * taps
        image = self.operator.apply(self._operand(kernel), self.operator.stack(leading))
        start = tf.cond(
            change <= (self.tolerance / 4) ** 2 * 2 * tf.nn.l2_loss(image),
            lambda: leading,
            lambda: self._better_vector(kernel, self.vector.value, rounds=2),
        )
        return tf.stop_gradient(start)
