"""All variables of a layer, for those who look for them: checkpoints, modules and Keras."""

import collections.abc
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf


class Tracked(keras.layers.Layer, tf.Module):
    """A layer whose variables TensorFlow finds wherever Keras does, in lists of layers as well.

    Keras looks into lists, tuples and dicts that attributes hold. `tf.train.Checkpoint` doesn't,
    nor do parents that are a `tf.Module` know Keras' layers at all.
    """

    # Keyed by layers, which `tf.Module` can't sort.
    _TF_MODULE_IGNORED_PROPERTIES = frozenset(
        (*tf.Module._TF_MODULE_IGNORED_PROPERTIES, "_compiled_trainable_state")
    )
    # Properties of `tf.Module`: Keras assigns the first one, and would save layers by the second.
    name: Any = ""
    submodules: Any = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._module_variables = RawVariables(self)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "trainable":  # Keras ignores a value that is the layer's already; those of the
            keras.layers.Layer.trainable.fset(self, value)  # layers in it may be others
        else:
            super().__setattr__(name, value)

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> dict[str, Any]:
        children = super()._trackable_children(save_type, **kwargs)
        found = {id(child) for child in children.values()}
        inner = {name: child for name, child in self._listed() if id(child) not in found}
        return {**inner, **children}

    def _listed(self) -> Iterator[tuple[str, Any]]:
        """Its own variables and layers in the order of creation, the one by which Keras saves."""
        for index, variable in enumerate(self._trainable_variables + self._non_trainable_variables):
            yield f"variable-{index}", variable
        for index, layer in enumerate(self._layers):
            yield f"layer-{index}", layer

    def _lock_state(self) -> None:  # after `build`
        super()._lock_state()
        # An argument of the constructor reaches the layers inside here.
        if not self.trainable:  # type: ignore[has-type]
            self.trainable = False
        for name, child in self._listed():  # what a checkpoint that is read already has for them
            self._handle_deferred_dependencies(name=name, trackable=child)


class RawVariables(collections.abc.Sequence):
    """The `tf.Variable`s of a Keras layer as they are now, for parents that are `tf.Module`s."""

    def __init__(self, layer: keras.layers.Layer) -> None:
        self._layer = layer

    def __iter__(self) -> Iterator[tf.Variable]:
        trainable = {id(variable) for variable in self._layer.trainable_variables}
        for variable in self._layer.variables:
            raw = variable._value
            for component in components(raw):
                component._trainable = id(variable) in trainable
            yield raw

    def __len__(self) -> int:
        return len(self._layer.variables)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


def components(variable: tf.Variable) -> tuple[tf.Variable, ...]:
    """The variable of each replica, or the variable itself."""
    return getattr(variable, "values", (variable,))
