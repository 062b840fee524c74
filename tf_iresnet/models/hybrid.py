"""A flow that classifies: density and classifier at once."""

from typing import Any, ClassVar

import tensorflow as tf

from tf_iresnet.layers.invertible import Estimation, InvertibleLayer
from tf_iresnet.layers.serialization import register
from tf_iresnet.models.bases import ClassNormal
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.invertible import classification, expect_labels
from tf_iresnet.models.steps import Values
from tf_iresnet.numerics.probes import Seed, as_seed


@register
class HybridFlow(ResidualFlow):
    """One invertible network that gives `p(x)`, `p(class | x)` and samples of each class.

    The latents of each class follow a normal of its own (`ClassNormal`), so that all three are
    parts of one joint density: `log_prob` is its marginal, and Bayes' rule gives the class, in
    which the log-determinant, the same for every class, cancels. `fit(x, y)` minimises

        −(λ ln p(x) + ln p(y | x))

    over labelled data. λ = 1 is the likelihood of the pair; λ = 1/D, with D the size of an event,
    weighs a pixel's nats like a label's; λ = 0 is a classifier (Residual Flows, arXiv 1906.02735,
    section 5.4, and Nalisnick et al., arXiv 1902.02767, equation 5). Called on data, the model
    returns `ln p(class | x)`, so `predict` does too.

    Args:
        layer, seed: see `ResidualFlow`.
        num_classes: at least 2.
        density_weight: λ, or "1/D".

    Input shape: `[batch, *event]`; targets: integers `[batch]`. Output shape: `[batch, classes]`.

    Raises:
        ValueError: for one class, a negative weight, or a conditional network.

    Example:

        hybrid = tf_iresnet.image_hybrid((8, 8, 1), 10, "resflow-mnist", width=32)
        hybrid.compile(optimizer=keras.optimizers.Adam(1e-3))
        hybrid.fit(images, labels, epochs=10)
        hybrid.predict(images).argmax(axis=-1)  # classes
        hybrid.log_prob(images)                 # low for what is unlike the training data
        hybrid.sample(10, label=3)
    """

    metric_names: ClassVar[tuple[str, ...]] = ("loss", "bits_per_dim", "cross_entropy", "accuracy")
    output_choices: ClassVar[tuple[str, ...]] = ("class_log_prob", "log_prob", "latents")
    has_labels: ClassVar[bool] = True
    served: ClassVar[tuple[str, ...]] = ("class_log_prob", *ResidualFlow.served)

    def __init__(
        self,
        layer: InvertibleLayer | list[InvertibleLayer],
        num_classes: int,
        density_weight: float | str = "1/D",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        valid = isinstance(density_weight, (int, float)) and density_weight >= 0
        if not valid and density_weight != "1/D":
            expected = "density_weight to be a number ≥ 0, or '1/D'"
            raise ValueError(f"Expected {expected}. Received: {density_weight=}")
        first = layer[0] if isinstance(layer, (list, tuple)) else layer
        base = ClassNormal(num_classes, dtype=first.dtype_policy, name="base")
        super().__init__(layer, base, seed, **kwargs)
        if self.layer.condition_size is not None:
            raise ValueError(
                "Expected a network without a condition: the classes take its place. "
                f"Received: condition_size={self.layer.condition_size}"
            )
        self.num_classes = num_classes
        self.density_weight = density_weight

    def call(self, inputs, training=None):
        x, _ = self._tensors(self._inputs_and_targets(inputs, None)[0], None)
        options = {"training": bool(training)}
        return self.traces.run("class_log_prob", self._class_log_prob, x, **options)

    def _class_log_prob(self, x, training):
        z = self.layer.forward(x, training=training).value
        return tf.nn.log_softmax(self.base.joint_log_prob(z))

    def log_prob(self, x: Any, seed: Seed = None) -> tf.Tensor:  # type: ignore[override]
        """Log-density of `x` `[batch, *event]`, in nats `[batch]`. `seed` is for estimators."""
        return super().call(x, seed=seed)

    def class_log_prob(self, x: Any) -> tf.Tensor:
        """`ln p(class | x)`, `[batch, classes]`, of `x` `[batch, *event]`."""
        return self.call(x)

    def sample(  # type: ignore[override]
        self, num: int, *, label: Any = None, seed: Seed = None, temperature: float = 1.0
    ) -> tf.Tensor:
        """Samples `[num, *event]`; see `ResidualFlow.sample`.

        Args:
            label: their class, an integer or `[num]` of them; None draws classes as well.
            temperature: factor of a latent's distance from the mean of its class.

        Raises:
            ValueError: for a label that isn't a class.
        """
        labels = []
        if label is not None:
            self._expect_label(label, num)
            labels = [tf.broadcast_to(tf.cast(label, tf.int32), tf.stack([num]))]
        return self._decode(self._latents(num, seed, temperature, *labels))

    def _expect_label(self, label: Any, num: Any) -> None:
        """Raises for a label that isn't a class; in a graph only for its shape."""
        tensor = tf.convert_to_tensor(label)
        fits = tensor.shape.rank in (None, 0) or tensor.shape.is_compatible_with([1])
        if isinstance(num, int):
            fits |= tensor.shape.is_compatible_with([num])
        if fits and tf.executing_eagerly():
            value = tensor.numpy()
            fits = ((value == value.astype(int)) & (value >= 0) & (value < self.num_classes)).all()
        if not fits:
            expected = f"label to be an integer from 0 to {self.num_classes - 1}, or {num} of them"
            raise ValueError(f"Expected {expected}. Received: label={label}")

    def _expect_arrays(self, x, y):
        super()._expect_arrays(x, None)
        expect_labels(y, self.num_classes)

    def _values(self, x, y, training, seed=None):
        how = Estimation(as_seed(seed), training)
        z, log_det, *_ = self.layer.forward(x, None, training, how)
        joint = self.base.joint_log_prob(z)
        log_prob = tf.reduce_logsumexp(joint, axis=1) + log_det
        means = classification(joint, y)
        loss = means["cross_entropy"]
        weight = 1 / self.event_size if self.density_weight == "1/D" else self.density_weight
        if weight:
            loss -= weight * log_prob
        means = {"loss": loss, "bits_per_dim": self._bits_per_dim(log_prob), **means}
        classes = tf.nn.log_softmax(joint)
        outputs = {"class_log_prob": classes, "log_prob": log_prob, "latents": z}
        return Values(means, outputs, {"class_log_prob": y, "log_prob": x, "latents": x})

    def get_config(self):
        config = super().get_config()
        del config["base"]
        return config | {"num_classes": self.num_classes, "density_weight": self.density_weight}
