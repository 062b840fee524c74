"""Distributions and bijectors of TensorFlow Probability as configs, and back."""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

MODULES = ("distributions", "bijectors")


def encode(value: Any, path: str = "distribution") -> Any:
    """The config, of JSON's types, of an object made of TFP's classes, variables, arrays, numbers.

    Raises:
        ValueError: for anything else, such as a function, by its `path`.
    """
    import tensorflow_probability as tfp

    if isinstance(value, np.generic):
        value = np.asarray(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {"kind": "dict", "items": {k: encode(v, f"{path}.{k}") for k, v in value.items()}}
    if isinstance(value, tf.TensorShape):
        value = tuple(value)
    if isinstance(value, (list, tuple)):
        items = [encode(v, f"{path}[{i}]") for i, v in enumerate(value)]
        return {"kind": "tuple" if isinstance(value, tuple) else "list", "items": items}
    if isinstance(value, tf.DType):
        return {"kind": "dtype", "name": value.name}
    if isinstance(value, tfp.util.DeferredTensor):
        bijector = getattr(value.transform_fn, "__self__", value.transform_fn)
        found = {"input": value.pretransformed_input, "bijector": bijector}
        return {"kind": "deferred", **{k: encode(v, f"{path}.{k}") for k, v in found.items()}}
    if isinstance(value, tf.Variable):
        name = value.name.partition(":")[0]
        return _array("variable", value.numpy()) | {"trainable": value.trainable, "name": name}
    if isinstance(value, (np.ndarray, tf.Tensor)):
        return _array("array" if isinstance(value, np.ndarray) else "tensor", np.asarray(value))
    for module in MODULES:
        name = type(value).__name__.lstrip("_")
        cls = getattr(getattr(tfp, module), name, None)
        if inspect.isclass(cls) and issubclass(cls, type(value)):
            # What is at its default may be left out, and may be a function.
            signature = inspect.signature(type(value).__init__)
            defaults = {key: p.default for key, p in signature.parameters.items()}
            arguments = {
                key: encode(argument, f"{path}.{key}")
                for key, argument in value.parameters.items()
                if argument is not defaults.get(key, inspect.Parameter.empty)
            }
            return {"kind": module, "name": name, "arguments": arguments}
    raise ValueError(
        "Expected a base that can be saved: a distribution made of the classes in "
        "tfp.distributions and tfp.bijectors, variables, arrays and numbers. Received: "
        f"{path}={value!r}. Write a subclass of tf_iresnet.bases.Base that makes it in "
        "distribution()."
    )


def decode(config: Any) -> Any:
    """The object for a config that `encode` made, with variables of its own."""
    import tensorflow_probability as tfp

    if not isinstance(config, Mapping):
        return config
    match config["kind"]:
        case "dict":
            return {key: decode(value) for key, value in config["items"].items()}
        case "list" | "tuple" as kind:
            items = [decode(value) for value in config["items"]]
            return tuple(items) if kind == "tuple" else items
        case "dtype":
            return tf.as_dtype(config["name"])
        case "deferred":
            return tfp.util.DeferredTensor(decode(config["input"]), decode(config["bijector"]))
        case "variable":
            options = {"trainable": config["trainable"], "name": config["name"]}
            return tf.Variable(_values(config), **options)
        case "array":
            return _values(config)
        case "tensor":
            return tf.constant(_values(config))
        case module:
            cls = getattr(getattr(tfp, module), config["name"])
            return cls(**{key: decode(value) for key, value in config["arguments"].items()})


def _array(kind: str, array: np.ndarray) -> dict[str, Any]:
    return {"kind": kind, "values": array.tolist(), "dtype": array.dtype.name}


def _values(config: Mapping[str, Any]) -> np.ndarray:
    return np.asarray(config["values"], config["dtype"])
