"""Compositions of contractive layers, and what may be part of one."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from tf_iresnet.layers import activations
from tf_iresnet.layers.contractive import ContractiveLayer
from tf_iresnet.layers.serialization import build_once, inherit_dtype, register
from tf_iresnet.numerics.bound_function import compose

INSTEAD = {
    "Dense": "its norm isn't bounded; use tf_iresnet.layers.SpectralDense",
    "BatchNormalization": "it divides by a variance that may be small; use "
    "tf_iresnet.layers.ActNorm outside the branch",
}
RANDOM = "it is a new function at every call, and no single map to invert; use weight decay"


@register
class ContractiveSequential(ContractiveLayer):
    """Composition of contractive layers, each of which receives the condition.

    Args:
        layers: `ContractiveLayer`s, or Keras activation layers known to be non-expansive (`ReLU`,
            `ELU`, `Activation` of such a function).

    Raises:
        ValueError: for a layer whose Lipschitz constant isn't known, with the layer to use instead.

    Example:

        tf_iresnet.layers.ContractiveSequential([
            tf_iresnet.layers.SpectralDense(64, activation="lipswish"),
            tf_iresnet.layers.SpectralDense(2),
        ])
    """

    def __init__(self, layers: Sequence[keras.layers.Layer], **kwargs: Any) -> None:
        super().__init__(**inherit_dtype(kwargs, layers))
        self.layers = [as_contractive(layer) for layer in layers]

    def build(self, input_shape):
        for layer in self.layers:
            input_shape = build_once(layer, input_shape)

    def compute_output_shape(self, input_shape):
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def lipschitz_bound(self):
        return math.prod(layer.lipschitz_bound() for layer in self.layers)

    def bind(self, condition=None, training=None):
        return compose([layer.bind(condition, training) for layer in self.layers])

    def fold(self, x, folding):
        for layer in self.layers:
            x = layer.fold(x, folding)
        return x

    def certified_parts(self, bound, path):
        for index, (layer, own) in enumerate(zip(self.layers, bound.parts, strict=True)):
            yield from layer.certified_parts(own, f"{path} / layer {index}")


def as_contractive(layer: Any) -> ContractiveLayer:
    """The layer itself if contractive, a list as a composition, a known Keras layer's equivalent.

    Raises:
        ValueError: for another layer.
    """
    if isinstance(layer, ContractiveLayer):
        return layer
    if isinstance(layer, (list, tuple)):
        return ContractiveSequential(layer)
    if type(layer) is keras.Sequential:
        return ContractiveSequential(layer.layers)
    if isinstance(layer, (keras.layers.Activation, keras.layers.ReLU, keras.layers.ELU)):
        activation = activations.get(layer)
        assert activation is not None
        return activation
    name = type(layer).__name__
    unknown = "its Lipschitz constant isn't known; use a layer of tf_iresnet.layers"
    random = name.endswith(("Dropout", "Noise")) or name.startswith("SpatialDropout")
    reason = RANDOM if random else INSTEAD.get(name, unknown)
    raise ValueError(
        "Expected every layer of a branch to be a ContractiveLayer or a known non-expansive "
        f"activation. Received: {name} {getattr(layer, 'name', '')!r}: {reason}."
    )
