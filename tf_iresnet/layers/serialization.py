"""The base of all layers here: configs from constructors' arguments, and weights in stacks."""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers import folding as foldings
from tf_iresnet.layers.tracking import Tracked
from tf_iresnet.numerics.structures import lifted

register = keras.saving.register_keras_serializable(package="tf_iresnet")
ELEMENTWISE = (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)


class StackedLayer(Tracked):
    """A layer that may hold many copies of its weights, along leading axes: its `stack`.

    `Repeated` asks for copies before it builds a layer: `stack = (100,)` makes a kernel of shape
    `[100, inputs, outputs]`, each copy initialised with a seed of its own. Without a stack it is an
    ordinary layer. Arguments of the constructor that are kept in attributes of the same name are
    part of the config.
    """

    stack: tuple[int, ...] = ()
    _condition_size: int | None = None
    unfoldable = "which defines no fold()"
    read_constants: Callable[[], tuple[tf.Tensor, ...]] | None = None  # see `folding.frozen`

    @property
    def working_dtype(self) -> str:
        """The dtype of the arithmetic: that of the weights, but at least float32.

        What a dtype policy means, by its compute dtype ("half": float16 or bfloat16):

        - "float32", "float64": everything is in that dtype.
        - "mixed_float16", "mixed_bfloat16": weights are float32. Kernels are normalised in float32.
          A contractive layer that is called by itself follows Keras: it casts inputs and kernels,
          and returns half. Invertible layers take inputs as they are and work in float32: identity
          paths, solvers, log-determinants, densities. Only *in training* the branches of blocks are
          evaluated in half (`BranchBlock.bind`): rounding there is noise in a gradient, but in
          inference it would be an error of inverses and densities. `call` returns half, as Keras
          expects; all other methods, and models, return float32.
        - "float16", "bfloat16": the same, with trained weights stored in half.
        """
        return lifted(self.variable_dtype)

    @property
    def condition_size(self) -> int | None:
        """Size of the condition that the layer takes: its own, or that of all layers in it."""
        if self._condition_size is not None:
            return self._condition_size
        found = (getattr(layer, "condition_size", None) for layer in self.sublayers())
        sizes = {size for size in found if size is not None}
        if len(sizes) > 1:
            raise ValueError(
                f"Expected one condition_size in all layers. Received: {sorted(sizes)}"
            )
        return sizes.pop() if sizes else None

    @condition_size.setter
    def condition_size(self, size: int | None) -> None:
        self._condition_size = size

    def set_stack(self, stack: tuple[int, ...]) -> None:
        """Sets the leading axes of the weights of this layer and of those in it."""
        if self.built:
            raise ValueError(
                f"Expected a layer that isn't built, to make copies of. Received: {self.name!r}."
            )
        self.stack = tuple(stack)
        for layer in self.sublayers():
            if not isinstance(layer, StackedLayer):
                raise ValueError(
                    "Expected layers of tf_iresnet alone in a layer that is repeated. "
                    f"Received: {type(layer).__name__} {layer.name!r}."
                )
            layer.set_stack(stack)

    def sublayers(self) -> list[keras.layers.Layer]:
        """The layers that it holds, in order."""
        return list(self._flatten_layers(include_self=False, recursive=False))

    def add_weight(self, shape=None, initializer=None, **kwargs):
        if self.stack:
            shape = (*self.stack, *(shape or ()))
            _expect_elementwise(self, kwargs)
        if self.stack or self.working_dtype != self.variable_dtype:
            initializer = _each_copy(initializer or "glorot_uniform", len(self.stack))
        options = {"autocast": False, **kwargs}  # Keras would read it rounded to half precision
        return super().add_weight(shape=shape, initializer=initializer, **options)

    def add_state(self, name: str, shape: Sequence[int], value: Callable[[], tf.Tensor]) -> Any:
        """A weight that isn't trained, `[*stack, *shape]`, with that value at first.

        It must be made from weights only, so that replicas agree on it.
        """
        return super().add_weight(
            name=name,
            shape=(*self.stack, *shape),
            initializer=lambda shape, dtype: tf.cast(tf.broadcast_to(value(), shape), dtype),
            dtype=self.working_dtype,
            trainable=False,
            autocast=False,
            aggregation="none",
        )

    # -- what weights alone decide ----------------------------------------------------------------

    def constants(self, training: bool | None = None) -> tuple[tf.Tensor, ...]:
        """What calls compute from weights alone, such as normalised kernels, `[*stack, …]`."""
        return ()

    def current_constants(self, training: bool | None = None) -> tuple[tf.Tensor, ...]:
        """The constants: computed, or those that `folding.frozen` keeps."""
        return self.read_constants() if self.read_constants else self.constants(training)

    def fold(self, x: Any, folding: foldings.Folding) -> Any:
        """Outputs for the symbolic tensor `x`, by plain Keras layers that `folding` makes."""
        raise ValueError(
            "Expected layers whose outputs plain Keras layers compute. Received: "
            f"{type(self).__name__} {self.name!r}, {self.unfoldable}. Serve the model by "
            "export(filepath), which needs no folded layers."
        )

    def folded(self) -> keras.layers.Layer:
        """A plain Keras layer that computes the same, with the normalised kernels as weights.

        Needs nothing of this package when it is loaded, and no power iteration. It is one layer of
        Keras (`SpectralDense` → `Dense`), a `keras.Sequential`, or a functional model, which with a
        condition takes `[inputs, condition]`. Training it knows no Lipschitz bound. Under mixed
        precision it computes in the dtype of the variables.

        Raises:
            ValueError: for layers that aren't built, or have no such form: `MonotoneBlock` and
                `Inverse`, whose outputs are solved for.
        """
        return foldings.folded_layer(self)

    def get_config(self):
        config = super().get_config()
        for name in _arguments(type(self)):
            if not hasattr(self, name):
                raise NotImplementedError(
                    f"Expected {type(self).__name__} to have an attribute for the argument "
                    f"{name!r} of its constructor. Received: none. Keep it in one, or define "
                    "get_config()."
                )
            config[name] = self.serialized(name)
        return config

    def serialized(self, argument: str) -> Any:
        """The form in which an argument of the constructor goes into the config."""
        return keras.saving.serialize_keras_object(getattr(self, argument))

    @classmethod
    def from_config(cls, config):
        return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})


def build_once(layer: keras.layers.Layer, input_shape: Any) -> tuple[Any, ...]:
    """Builds a layer that isn't built yet, and returns its output shape."""
    if not layer.built:
        layer.build(input_shape)
    return tuple(layer.compute_output_shape(input_shape))


def expect_same_shape(layer: keras.layers.Layer, input_shape: Any) -> None:
    """Builds a layer that isn't built yet, whose output shape has to be its input shape."""
    before, after = tuple(input_shape)[1:], build_once(layer, input_shape)[1:]
    if before != after:
        raise ValueError(
            "Expected a layer whose output shape is its input shape. "
            f"Received: {layer.name!r}, which maps {before} → {after}"
        )


def inherit_dtype(kwargs: dict[str, Any], layers: Sequence[Any]) -> dict[str, Any]:
    """The arguments with the dtype of the wrapped layers, unless they name one."""
    if kwargs.get("dtype") is None and layers and hasattr(layers[0], "dtype_policy"):
        return {**kwargs, "dtype": layers[0].dtype_policy.name}
    return kwargs


def _arguments(cls: type) -> list[str]:
    """The named arguments of the constructors of a class and of its bases in this package."""
    names: dict[str, None] = {}
    for base in cls.__mro__:
        if issubclass(base, StackedLayer) and "__init__" in vars(base):
            _, *parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore
            kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
            names |= dict.fromkeys(p.name for p in parameters if p.kind in kinds)
            if all(p.kind != inspect.Parameter.VAR_KEYWORD for p in parameters):
                break
    return list(names)


def _each_copy(initializer: Any, axes: int) -> Callable[..., tf.Tensor]:
    """An initialiser of `[*stack, *shape]`: each copy by its own seed, if the seed is fixed.

    It works in float32 at least: there is no orthogonal one in half precision.
    """
    initializer = keras.initializers.get(initializer)

    def initialize(shape: Sequence[int], dtype: Any = None) -> tf.Tensor:
        copies = (
            _reseeded(initializer, index)(tuple(shape[axes:]), dtype=lifted(dtype))
            for index in range(math.prod(shape[:axes]))
        )
        values = tf.reshape(tf.stack([tf.convert_to_tensor(copy) for copy in copies]), shape)
        return tf.cast(values, dtype)

    return initialize


def _reseeded(initializer: Any, index: int) -> Any:
    """The initialiser of a copy: with another seed, a function of its own and of the index."""
    if not index or not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    config = initializer.get_config()
    if isinstance(config.get("seed"), int):
        config["seed"] = (config["seed"] + 7919 * index) % 2**31
    return type(initializer).from_config(config)


def _expect_elementwise(layer: keras.layers.Layer, kwargs: dict[str, Any]) -> None:
    constraint, regularizer = kwargs.get("constraint"), kwargs.get("regularizer")
    elementwise = isinstance(keras.regularizers.get(regularizer), (*ELEMENTWISE, type(None)))
    if constraint is not None or not elementwise:
        raise ValueError(
            "Expected no constraint, and no regularizer but L1 and L2, on a layer that is "
            "repeated: it would take all copies for one kernel. "
            f"Received: {constraint=!s}, {regularizer=!s} on {layer.name!r}."
        )
