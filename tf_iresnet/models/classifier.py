"""An invertible residual network as a classifier."""

from typing import Any, ClassVar

import keras
import tensorflow as tf

from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.layers.serialization import build_once, register
from tf_iresnet.models.invertible import InvertibleModel, classification, expect_labels
from tf_iresnet.models.steps import Values


@register
class IResNetClassifier(InvertibleModel):
    """Classes from the features of an invertible network, which can be turned back into inputs.

    The head is batch normalisation, ReLU, the mean over all positions and a linear map to logits
    (i-ResNet, arXiv 1811.00995, section 5.1). It alone loses information: `encode` gives the
    features, and `decode` the inputs they came from. `fit(x, y)` minimises the cross-entropy;
    called on data, the model returns logits.

    Args:
        layer: the network from inputs to features, or a list of invertible layers.
        num_classes: at least 2.
        seed: of the initial weights of the head.

    Input shape: `[batch, *event]`; targets: integers `[batch]`. Output shape: `[batch, classes]`.

    Example:

        classifier = tf_iresnet.image_classifier((32, 32, 3), num_classes=10)
        classifier.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))
        classifier.fit(images, labels, epochs=10)
        features = classifier.encode(images)
        classifier.decode(features)  # the images
    """

    metric_names: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    output_choices: ClassVar[tuple[str, ...]] = ("class_log_prob", "features")
    served: ClassVar[tuple[str, ...]] = ("call", "class_log_prob", "encode", "decode")

    def __init__(
        self,
        layer: InvertibleLayer | list[InvertibleLayer],
        num_classes: int,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, seed, **kwargs)
        if num_classes < 2:
            raise ValueError(f"Expected num_classes ≥ 2. Received: num_classes={num_classes}")
        self.num_classes = num_classes
        dtype = self.layer.working_dtype  # logits are in float32 at least
        # By the moments of the batch of all replicas. They come from means of squares then, which
        # one replica needn't put up with.
        several = tf.distribute.get_strategy().num_replicas_in_sync > 1
        self.normalization = keras.layers.BatchNormalization(
            momentum=0.9, name="normalization", dtype=dtype, synchronized=several
        )
        initializer = keras.initializers.GlorotUniform(seed=seed)
        self.head = keras.layers.Dense(
            num_classes, kernel_initializer=initializer, name="head", dtype=dtype
        )

    def build(self, input_shape):
        super().build(input_shape)
        shape = self.layer.compute_output_shape(input_shape)
        build_once(self.normalization, shape)
        build_once(self.head, (None, shape[-1]))

    def call(self, inputs, training=None):
        x, _ = self._tensors(self._inputs_and_targets(inputs, None)[0], None)
        return self.traces.run("logits", self._logits, x, training=bool(training))[0]

    def _logits(self, x, training):
        features = self.layer.forward(x, training=training).value
        positive = tf.nn.relu(self._normalized(features, training))
        pooled = tf.reduce_mean(positive, axis=range(1, positive.shape.rank - 1))
        return self.head(pooled), features

    def fold(self, x, folding):
        x = super().fold(x, folding)
        x = folding.copied(self.normalization, x)
        x = keras.ops.relu(x)
        if len(x.shape) > 2:
            x = keras.ops.mean(x, axis=tuple(range(1, len(x.shape) - 1)))
        return folding.copied(self.head, x)

    def _normalized(self, features: tf.Tensor, training: bool) -> tf.Tensor:
        """The normalised features; moving moments that wouldn't be finite stay as they were."""
        moving = self.normalization.non_trainable_variables if training else []
        before = [tf.identity(moment.value) for moment in moving]
        normalized = self.normalization(features, training=training)
        for moment, old in zip(moving, before, strict=True):
            finite = tf.reduce_all(tf.math.is_finite(moment.value))
            moment.assign(tf.where(finite, moment.value, old))
        return normalized

    def class_log_prob(self, x: Any) -> tf.Tensor:
        """`ln p(class | x)`, `[batch, classes]`, of `x` `[batch, *event]`."""
        return tf.nn.log_softmax(self.call(x))

    def _expect_arrays(self, x, y):
        super()._expect_arrays(x, None)
        expect_labels(y, self.num_classes)

    def _values(self, x, y, training, seed=None):
        logits, features = self._logits(x, training)
        classes = tf.nn.log_softmax(logits)
        values = classification(logits, y)
        means = {"loss": values["cross_entropy"], "accuracy": values["accuracy"]}
        outputs = {"class_log_prob": classes, "features": features}
        return Values(means, outputs, {"class_log_prob": y, "features": x})

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}
