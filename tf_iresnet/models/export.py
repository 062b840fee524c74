"""Models as SavedModels that need nothing of this package."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tf_iresnet.layers.folding import frozen


def export_saved_model(
    model: Any, filepath: Any, verbose: bool | None = None, input_signature: Any = None
) -> None:
    """See `InvertibleModel.export`."""
    specs = _specs(model, input_signature)
    module, signatures, calls = tf.Module(name=model.name), {}, []
    with frozen(model._flatten_layers()):
        for method in model.served:
            for suffix, arguments in _calls(model, method, specs):
                name = ("serve" if method == "call" else method) + suffix
                function = _function(getattr(model, method), arguments)
                signatures[name] = function.get_concrete_function()
                calls.append(f"{name}({', '.join(arguments)})")
                setattr(module, name, function)
            if method == model.served[0]:
                module.serve = getattr(module, name)
                signatures["serving_default"] = signatures[name]
        # Without this list the raw kernels, the optimizer's and the metrics' variables stay behind.
        graphs = [signature.graph for signature in signatures.values()]
        used = {variable.ref(): variable for graph in graphs for variable in graph.variables}
        module.weights = list(used.values())
        # Gradients of solvers would take most of the time.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, str(filepath), signatures=signatures, options=options)
    if verbose is not False:
        print(f"Saved {model.name!r} to {str(filepath)!r}, to be called as: {'; '.join(calls)}")


def _function(method: Callable, specs: dict[str, tf.TensorSpec]) -> Any:
    """The method as a function of these arguments alone, with its defaults but for None.

    Of fixed specs: loaded, any other function of TensorFlow is traced anew for every number of
    rows and every Python number, and keeps the trace.
    """

    def function(*values: tf.Tensor) -> tf.Tensor:
        return method(**dict(zip(specs, values, strict=True)))

    own = inspect.signature(method).parameters
    kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    defaults = {name: empty if own[name].default is None else own[name].default for name in specs}
    parameters = [inspect.Parameter(name, kind, default=d) for name, d in defaults.items()]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return tf.function(function, list(specs.values()), autograph=False)


def _calls(
    model: Any, method: str, specs: dict[str, tf.TensorSpec]
) -> Iterator[tuple[str, dict[str, tf.TensorSpec]]]:
    """The arguments to trace a method with, each with what its signature's name ends in."""
    names = inspect.signature(getattr(model, method)).parameters
    # Estimators draw as they do without a seed.
    given = {name: specs[name] for name in names if name in specs}
    if method != "sample":
        given.pop("seed", None)
    yield "", {name: spec for name, spec in given.items() if name != "label"}
    if "label" in given:
        yield "_label", given


def _specs(model: Any, input_signature: Any) -> dict[str, tf.TensorSpec]:
    """What each argument of the methods is, by its name."""
    event, dtype = model.event_shape, model.working_dtype
    latent = model.layer.compute_output_shape((None, *event))[1:]
    shapes = {"x": [None, *event]}
    if model.condition_size is not None:
        shapes["condition"] = [None, model.condition_size]
    specs = {name: tf.TensorSpec(shape, dtype, name) for name, shape in shapes.items()}
    if input_signature is not None:
        given = tf.nest.flatten(input_signature)
        fits = len(given) == len(specs) and all(
            own.shape.is_compatible_with(new.shape) and len(new.shape) == len(own.shape)
            for own, new in zip(specs.values(), given, strict=True)
        )
        if not fits:
            expected = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(
                f"Expected input_signature to be specs of {expected}. Received: "
                f"{input_signature}. Leave it out for any number of examples."
            )
        specs = {
            name: tf.TensorSpec(new.shape, new.dtype or dtype, name)
            for name, new in zip(specs, given, strict=True)
        }
    x = specs["x"]
    return specs | {
        "inputs": tf.TensorSpec(x.shape, x.dtype, "inputs"),
        "z": tf.TensorSpec([x.shape[0], *latent], dtype, "z"),
        "num": tf.TensorSpec([], tf.int32, "num"),
        "seed": tf.TensorSpec([], tf.int32, "seed"),
        "temperature": tf.TensorSpec([], dtype, "temperature"),
        "label": tf.TensorSpec(None, tf.int64, "label"),
    }
