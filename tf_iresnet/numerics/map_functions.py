"""Running functions of linear maps: as a graph in eager mode, over a stack copy by copy."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_iresnet.numerics.linear_maps import LinearMap

TRACES = 64  # functions kept for eager mode; a function of matrices serves every shape


def as_one_graph(function: Callable, linear_map: LinearMap, *tensors: Any, **static: Any) -> Any:
    """`function(linear_map, *tensors, **static)`, in eager mode as a graph, which is 10 × faster.

    One trace serves all matrices of one rank, or all convolutions of one shape.
    """
    if not tf.executing_eagerly():
        return function(linear_map, *tensors, **static)
    metadata, components = linear_map.__tf_flatten__()
    arguments = [tf.convert_to_tensor(t) for t in (*components, *tensors)]
    shapes = [[None] * t.shape.rank if linear_map.batched else t.shape for t in arguments]
    signature = tuple(map(tf.TensorSpec, shapes, (t.dtype for t in arguments)))
    unflatten = type(linear_map).__tf_unflatten__
    kept = _graph(function, unflatten, metadata, signature, tuple(static.items()))
    return kept(*arguments)


@functools.lru_cache(maxsize=TRACES)
def _graph(
    function: Callable, unflatten: Callable, metadata: tuple, signature: tuple, static: tuple
) -> Callable:
    def call(kernel: tf.Tensor, *tensors: tf.Tensor) -> Any:
        return function(unflatten(metadata, (kernel,)), *tensors, **dict(static))

    # Partial, since TensorFlow would take functions of the same code for one that it traces anew.
    return tf.function(functools.partial(call), input_signature=signature, autograph=False)


def in_turn(function: Callable, linear_map: LinearMap, *tensors: Any, results: int = 1) -> Any:
    """`function(linear_map, *tensors)`, for a stack of convolutions one copy after the other.

    The function returns a tensor `[*stack, …]` in the kernel's dtype, or a tuple of several.
    """
    if linear_map.batched or not linear_map.num_stacked:
        return function(linear_map, *tensors)
    axes, stacks = linear_map.num_stacked, (linear_map.kernel, *tensors)
    copies = tuple(tf.reshape(t, [-1, *t.shape[axes:]]) for t in stacks)
    dtype = linear_map.kernel.dtype
    found = tf.map_fn(
        lambda copy: function(linear_map.with_kernel(copy[0]), *copy[1:]),
        copies,
        fn_output_signature=dtype if results == 1 else (dtype,) * results,
    )
    return tf.nest.map_structure(lambda t: tf.reshape(t, [*linear_map.stack, *t.shape[1:]]), found)
