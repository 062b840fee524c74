"""What data are when they come to each block of a model."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.invertible import Inverse, InvertibleSequential
from tf_iresnet.layers.monotone import ROOT, MonotoneBlock
from tf_iresnet.layers.multiscale import MultiScale
from tf_iresnet.layers.repeated import Repeated
from tf_iresnet.layers.residual import BranchBlock
from tf_iresnet.layers.walk import walk

Met = Callable[[BranchBlock, tf.Tensor], None]


def visit(layer: keras.layers.Layer, x: tf.Tensor, condition: Any, met: Met) -> tf.Tensor:
    """Sends data through a layer, and calls `met` with each block and what its branch sees of them.

    The blocks come in the order of `walk`, with their weights, which are right until `met` returns.
    In an `Inverse` it is the solutions that the branch sees. Eager mode.

    Args:
        layer: an `InvertibleLayer`, or a `keras.Sequential` of such.
        x: `[batch, *event]`.
        condition: `[batch, condition_size]`, or None.
        met: called with a block and what its branch is applied to, `[batch, *event]`.

    Returns:
        The layer's output.

    Raises:
        ValueError: for another layer that has blocks in it.
    """
    if isinstance(layer, BranchBlock):
        y = layer.call(x, condition)
        met(layer, (x + y) / ROOT if isinstance(layer, MonotoneBlock) else x)
        return y
    if isinstance(layer, (InvertibleSequential, keras.Sequential)):
        for inner in layer.layers:
            x = visit(inner, x, condition, met)
        return x
    if isinstance(layer, Repeated):
        for index in range(layer.times):
            with layer.copy(index) as copy:
                x = visit(copy, x, condition, met)
        return x
    if isinstance(layer, MultiScale):
        return layer.through_stages(x, lambda _, stage, x: visit(stage, x, condition, met))
    if isinstance(layer, Inverse):
        y = layer.call(x, condition)
        visit(layer.layer, y, condition, met)
        return y
    if any(walk(layer, BranchBlock)):
        raise ValueError(
            "Expected a model of tf_iresnet, an InvertibleLayer or a keras.Sequential of these. "
            f"Received: {type(layer).__name__} {layer.name!r}, of which it isn't known what data "
            "come to its blocks. Measure on the blocks one by one."
        )
    return layer(x)
