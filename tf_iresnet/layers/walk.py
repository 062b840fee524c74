"""The layers of some kind in a model, with the weights they have there."""

from collections.abc import Iterator
from typing import Any

import keras

from tf_iresnet.layers.repeated import Repeated


def walk(layer: keras.layers.Layer, kinds: type | tuple[type, ...]) -> Iterator[Any]:
    """Yields the outermost layers of the given classes in order, the model itself included.

    What is yielded has the right weights until the next one is asked for: the copies of a
    `Repeated` layer take turns in one object. What is assigned to them then is kept. Eager mode.

    Args:
        layer: a model or layer.
        kinds: classes to yield, and not to look into.
    """
    if isinstance(layer, kinds):
        yield layer
    elif isinstance(layer, Repeated) and layer.built:
        for index in range(layer.times):
            with layer.copy(index) as copy:
                yield from walk(copy, kinds)
    elif isinstance(layer, Repeated):
        yield from walk(layer.layer, kinds)
    else:
        for inner in layer._flatten_layers(include_self=False, recursive=False):
            yield from walk(inner, kinds)
