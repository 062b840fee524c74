"""A workload of the benchmark on tf_iresnet."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from comparisons.workloads import COEFFICIENT, Perceptrons, Workload, batch, weights
from tf_iresnet import ResidualFlow, layers, log_det
from tf_iresnet.numerics import tracing
from tf_iresnet.numerics.fixed_point import solve

# What normflows does in evaluation, whatever it was told: 20 terms and a geometric number of more,
# 2 in the mean; in two dimensions the exact determinant.
EVALUATION_PRODUCTS = 22


class Ours:
    """A residual flow, and what is measured of it.

    Args:
        workload: what it is made of.
        tolerance: of the inverse of each block.
        memory: what a training step keeps, see `tf_iresnet.layers.Repeated`.
    """

    def __init__(self, workload: Workload, tolerance: float = 1e-5, memory: str = "store"):
        evaluation: log_det.LogDet = log_det.PowerSeries(EVALUATION_PRODUCTS)
        if workload.event_shape == (2,):
            evaluation = log_det.Exact()
        block = layers.ResidualBlock(
            _branch(workload),
            log_det.Auto(log_det.PowerSeries(workload.terms), evaluation),
            tolerance=tolerance,
        )
        blocks = layers.Repeated(block, workload.blocks, memory)
        self.flow = ResidualFlow(blocks)
        self.flow.build((None, *workload.event_shape))
        layer_by_layer = zip(*weights(workload), strict=True)
        stacks = (np.stack(part) for layer in layer_by_layer for part in zip(*layer, strict=True))
        for weight in blocks.weights:
            if weight.name.endswith(("kernel", "bias")):
                weight.assign(next(stacks))
        self.flow.store_norms()
        self.flow.compile(optimizer=keras.optimizers.Adam(1e-6))
        # As in a process that has inverted for some seconds: see `Traces.run_compiled`.
        tracing.COMPILATION_SECONDS = -1.0
        self.data = batch(workload)

    def train_step(self) -> None:
        """One step of Adam."""
        self.flow.train_on_batch(self.data)

    def log_prob(self) -> np.ndarray:
        """Log-densities of the batch in evaluation mode, `[batch]`."""
        return self.flow.log_prob(self.data).numpy()

    def set_tolerance(self, tolerance: float) -> None:
        """Sets the tolerance of the inverse."""
        self.flow.layer.layer.tolerance = tolerance
        self.flow._forget_traces()

    def invert(self) -> np.ndarray:
        """The batch, taken for latents, as data `[batch, size]`."""
        return self.flow.decode(self.data).numpy().reshape(len(self.data), -1)

    def truth(self) -> np.ndarray:
        """What `invert` should give: that of the same normalised kernels, in float64."""
        blocks = self.flow.layer
        exact = [
            tf.nest.map_structure(lambda tensor: tf.cast(tensor, tf.float64), copy.bound)
            for copy in blocks.blocks()
        ]

        @tf.function(autograph=False)
        def inverse(y: tf.Tensor, *tensors: tf.Tensor) -> tf.Tensor:
            g = tf.nest.pack_sequence_as(exact[0], tensors)
            return solve(g, y, lipschitz=blocks.layer.lipschitz, tolerance=1e-11).value

        y = tf.constant(self.data, tf.float64)
        for g in reversed(exact):
            y = inverse(y, *tf.nest.flatten(g))
        return y.numpy().reshape(len(self.data), -1)


def _branch(workload: Workload) -> list[keras.layers.Layer]:
    shapes = workload.kernel_shapes
    activations = [*["lipswish"] * (len(shapes) - 1), None]
    branch: list[keras.layers.Layer] = [layers.LipSwish()]
    for shape, activation in zip(shapes, activations, strict=True):
        options: dict[str, Any] = {"activation": activation}
        if isinstance(workload, Perceptrons):
            layer = layers.SpectralDense(shape[-1], COEFFICIENT, **options)
        else:
            options |= {"coefficient": COEFFICIENT, "padding": "same"}
            layer = layers.SpectralConv2D(shape[-1], shape[:2], **options)
        branch.append(layer)
    return branch
