"""The contract of an invertible layer."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_iresnet.layers.checks import as_condition, expect_events
from tf_iresnet.layers.serialization import StackedLayer
from tf_iresnet.numerics import replicas
from tf_iresnet.numerics.fixed_point import Solution
from tf_iresnet.numerics.probes import Seed, as_seed, fold_in
from tf_iresnet.numerics.structures import cast_floats
from tf_iresnet.numerics.tracing import Traces

Pair = tuple[tf.Tensor, tf.Tensor]


class Estimation(NamedTuple):
    """How log-determinants are to be estimated."""

    seed: tf.Tensor  # int32 `[2]`
    training: bool = False
    # A scalar: truncation bounds hold if the branch of every block has no larger a Lipschitz
    # constant than this or its own bound.
    proven: float | tf.Tensor = 0.0

    def at(self, index: int | tf.Tensor) -> "Estimation":
        """The same for a layer inside, with a seed of its own."""
        return self._replace(seed=fold_in(self.seed, index))


How = Estimation | None


class Mapped(NamedTuple):
    """What a layer makes of a batch, in either direction.

    Attributes:
        value: `[batch, *event]`.
        log_det: of the map in that direction, `[batch]` nats; None unless it was asked for.
        truncation: `[batch]` nats, a bound on what the estimators cut off of it.
        solutions: of the solvers that ran, in the order of the forward pass: fields
            `[solvers, batch]`, without a `value`.
    """

    value: tf.Tensor
    log_det: tf.Tensor | None = None
    truncation: tf.Tensor | None = None
    solutions: tuple[Solution, ...] = ()

    @classmethod
    def exact(cls, value: tf.Tensor, log_det: tf.Tensor | None) -> "Mapped":
        """A value whose log-determinant, if it was asked for, is a closed form."""
        return cls(value, log_det, None if log_det is None else tf.zeros_like(log_det))

    @classmethod
    def composed(cls, steps: Sequence["Mapped"], reverse: bool = False) -> "Mapped":
        """One map after another; `reverse` if the last one comes first in the forward pass."""
        in_order = reversed(steps) if reverse else steps
        solutions = tuple(solution for step in in_order for solution in step.solutions)
        value = steps[-1].value
        if steps[0].log_det is None:
            return cls(value, solutions=solutions)
        log_det = tf.add_n([step.log_det for step in steps])
        truncation = tf.add_n([step.truncation for step in steps])
        return cls(value, log_det, truncation, solutions)

    def solution(self) -> Solution:
        """The value, and what all solvers did: fields `[solvers, batch]`."""
        if not self.solutions:
            none = [0, tf.shape(self.value)[0]]
            count, error = tf.zeros(none, tf.int32), tf.zeros(none, self.value.dtype)
            return Solution(self.value, count, count, error, tf.zeros(none, tf.bool))
        fields = zip(*(solution[1:] for solution in self.solutions), strict=True)
        return Solution(self.value, *(tf.concat(field, 0) for field in fields))


class BlockCopy(NamedTuple):
    """One block of a model: a layer with a branch, and which copy of its weights.

    Attributes:
        block: the layer.
        index: of the copy in the stack of its weights; empty without a stack.
        bound: the branch of that copy with its weights bound, a `BoundFunction`.
    """

    block: Any
    index: tuple[int, ...]  # type: ignore[assignment]  # hides the method of tuples
    bound: Any


Callback = Callable[[BlockCopy, tf.Tensor], None]


class InvertibleLayer(StackedLayer):
    """A bijection of each example, `F: inputs → outputs`, with its log-determinant.

    A subclass defines three methods, on tensors of the layer's `working_dtype`:

        bind(condition, training) → the tensors that the map depends on, a nest
        push(bound, x, how=None) → `Mapped`, the outputs with `ln|det ∂outputs/∂inputs|`
        pull(bound, y, how=None) → `Mapped`, the inputs with the log-determinant of the inverse

    and everything below follows. `bind`, by default the weights, runs once for a call, whatever is
    repeated in it, on weights with leading axes `self.stack`; the other two are pure functions of
    one copy. They return log-determinants where `how`, an `Estimation`, isn't None.

    Apart from state stored under `training=True`, all methods are pure functions of weights, inputs
    and seed. A seed is an int or an int32 pair; None is a fixed one.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.event_shape: tuple[int, ...] | None = None
        self.traces = Traces()  # of eager calls

    def build(self, input_shape):
        event_shape = tuple(input_shape[1:])
        if not event_shape or None in event_shape:
            raise ValueError(
                "Expected inputs of shape [batch, *event] with a known event shape. "
                f"Received: shape={tuple(input_shape)}"
            )
        self.event_shape = event_shape

    # -- what a subclass defines ------------------------------------------------------------------

    def bind(self, condition: tf.Tensor | None = None, training: bool | None = None) -> Any:
        """The tensors that `push` and `pull` need, with leading axes `stack`."""
        return tuple(weight.value for weight in self.weights)

    def push(self, bound: Any, x: tf.Tensor, how: How = None) -> Mapped:
        """The layer's outputs for inputs `x` `[batch, *event]`."""
        raise TypeError(f"{type(self).__name__} must define push()")

    def pull(self, bound: Any, y: tf.Tensor, how: How = None) -> Mapped:
        """The layer's inputs for outputs `y`."""
        raise TypeError(f"{type(self).__name__} must define pull()")

    @property
    def num_solvers(self) -> tuple[int, int]:
        """How many solvers run in `push`, and how many in `pull`."""
        return 0, 0

    @property
    def irreversible(self) -> str | None:
        """The layer inside whose `pull` can't undo a training step's `push`, and why; or None."""
        if type(self).pull is InvertibleLayer.pull:
            return f"{self.name!r}, which defines no pull()"
        inside = (layer for layer in self.sublayers() if isinstance(layer, InvertibleLayer))
        return next((reason for layer in inside if (reason := layer.irreversible)), None)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    @property
    def initialized_weights(self) -> list[keras.Variable]:
        """The weights that data initialise; those named "initialized" are above 0 once they are."""
        return []

    def initialize(
        self, bound: Any, values: list[tf.Tensor], x: tf.Tensor, reverse: bool
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """New values of the `initialized_weights` of one copy, and data `x` mapped by them.

        By `push`; with `reverse` by `pull`, `x` being outputs of the layer then. `values` are those
        so far, which an earlier use of the layer in the same pass may have changed: unlike `bound`.
        """
        return values, (self.pull if reverse else self.push)(bound, x).value

    def copies(self, bound: Any, index: tuple[int, ...] = ()) -> Iterator[BlockCopy]:
        """The blocks inside with their weights, in the order of the forward pass."""
        return iter(())

    def visit(
        self, bound: Any, x: tf.Tensor, callback: Callback, index: tuple[int, ...] = ()
    ) -> tf.Tensor:
        """Calls back with each block and its branch's input, and returns the outputs for `x`."""
        return self.push(bound, x).value

    # -- what everybody calls ---------------------------------------------------------------------

    def call(self, inputs, condition=None, training=None):
        return tf.cast(self.forward(inputs, condition, training).value, self.compute_dtype)

    def forward(
        self, inputs: Any, condition: Any = None, training: bool | None = None, how: How = None
    ) -> Mapped:
        """`F(inputs)`, with its log-determinant if there is a `how`."""
        x, condition = self._prepare(inputs, condition)
        if training:
            self._initialize_by(x, condition)
        return self.push(self._bound(condition, training), x, how)

    def backward(self, outputs: Any, condition: Any = None, how: How = None) -> Mapped:
        """`F⁻¹(outputs)`, with its log-determinant if there is a `how`."""
        y, condition = self._prepare(outputs, condition, inverse=True)
        return self.pull(self._bound(condition), y, how)

    def traced(
        self, value: Any, condition: Any = None, how: How = None, inverse: bool = False
    ) -> Mapped:
        """`forward` or `backward`; eager calls run a trace that is kept."""
        direction = self.backward if inverse else self.forward

        def mapped(value: Any, condition: Any, **how: Any) -> Mapped:
            return direction(value, condition, how=Estimation(**how) if how else None)

        options = how._asdict() if how else {}
        value, condition = self._prepare(value, condition, inverse)
        return self.traces.run(f"inverse={inverse}", mapped, value, condition, **options)

    def forward_with_log_det(
        self, inputs: Any, condition: Any = None, training: bool | None = None, seed: Seed = None
    ) -> Pair:
        """`F(inputs)` and `ln|det ∂F/∂inputs|` of each example, `[batch]` nats."""
        how = Estimation(as_seed(seed), bool(training))
        value, log_det, *_ = self.forward(inputs, condition, training, how)
        return value, log_det

    def inverse(self, outputs: Any, condition: Any = None) -> tf.Tensor:
        """`F⁻¹(outputs)`. Rows that a solver couldn't certify are NaN."""
        return self.backward(outputs, condition).value

    def inverse_with_report(self, outputs: Any, condition: Any = None) -> Solution:
        """`inverse`, and what each solver in it did: fields `[solvers, batch]`."""
        return self.backward(outputs, condition).solution()

    def inverse_with_log_det(self, outputs: Any, condition: Any = None, seed: Seed = None) -> Pair:
        """`F⁻¹(outputs)` and the log-determinant of `F⁻¹` there, `[batch]` nats."""
        value, log_det, *_ = self.backward(outputs, condition, Estimation(as_seed(seed)))
        return value, log_det

    def blocks(self) -> Iterator[BlockCopy]:
        """The blocks inside with their weights, in the order of the forward pass (eager mode)."""
        size = self.condition_size
        condition = None if size is None else tf.zeros([1, size], self.working_dtype)
        return self.copies(self._bound(condition))

    def visit_blocks(self, inputs: Any, callback: Callback, condition: Any = None) -> tf.Tensor:
        """`F(inputs)`; calls back with each block, in order, and its branch's input."""
        x, condition = self._prepare(inputs, condition)
        return self.visit(self._bound(condition), x, callback)

    # -- how --------------------------------------------------------------------------------------

    def _prepare(self, value: Any, condition: Any, inverse: bool = False) -> tuple[Any, Any]:
        """The tensors in the working dtype; builds the layer if it maps forward."""
        value = tf.cast(tf.convert_to_tensor(value), self.working_dtype)
        if not self.built:
            if inverse:
                raise ValueError(f"{self.name!r} has no weights yet: call it, or build(shape).")
            self.build(value.shape)
        expect_events(self, value, inverse)
        return value, as_condition(self, condition, value.shape[0])

    def _bound(self, condition: tf.Tensor | None = None, training: bool | None = None) -> Any:
        """What `bind` returns in the working dtype, also of layers inside that have another one."""
        return cast_floats(self.bind(condition, training), self.working_dtype)

    def _initialize_by(self, x: tf.Tensor, condition: tf.Tensor | None) -> None:
        """Sets what data initialise, in a pass of its own before the first step.

        By the batch of all replicas. Data that aren't finite, or become so in a layer, set nothing
        anywhere.
        """
        if not self.initialized_weights:
            return
        data = [tf.stop_gradient(x)]
        if condition is not None:  # one row for all, or a row for each
            data.append(tf.broadcast_to(condition, tf.stack([tf.shape(x)[0], condition.shape[1]])))
        replicas.together(self._initialize, *data)

    def _initialize(self, *parts: Callable[[], tf.Tensor]) -> None:
        """Does so, once for all replicas; a part returns `x`, or the condition, of all of them."""
        weights = self.initialized_weights
        before = [tf.cast(weight.value, self.working_dtype) for weight in weights]
        pairs = zip(weights, before, strict=True)
        flags = [tf.reduce_all(value > 0) for w, value in pairs if w.name == "initialized"]

        def initialized() -> list[tf.Tensor]:
            # Bound in here: it would cost a step its time where nothing is to be done.
            x, *condition = (part() for part in parts)
            values, _ = self.initialize(self._bound(*condition), before, x, False)
            tensors = (x, *condition, *values)
            finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(t)) for t in tensors])
            return [tf.where(finite, *pair) for pair in zip(values, before, strict=True)]

        values = tf.cond(tf.reduce_all(flags), lambda: before, initialized)
        for weight, value in zip(weights, values, strict=True):
            weight.assign(value)


def expect_invertible(layers: Iterable[Any]) -> list[InvertibleLayer]:
    """The layers as a list, which has to be one of `InvertibleLayer`s, and not empty."""
    layers = list(layers)
    if not layers:
        raise ValueError("Expected at least one layer. Received: none")
    for layer in layers:
        if not isinstance(layer, InvertibleLayer):
            raise ValueError(
                "Expected every layer to be an InvertibleLayer. Received: "
                f"{type(layer).__name__} {getattr(layer, 'name', '')!r}. Wrap contractive "
                "layers in tf_iresnet.layers.ResidualBlock([...])."
            )
    return layers
