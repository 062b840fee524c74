"""An invertible residual network as a classifier."""

from typing import Any, ClassVar

import keras
import tensorflow as tf

from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.layers.serialization import build_once, register
from tf_iresnet.models.invertible import InvertibleModel, classification


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
        self.normalization = keras.layers.BatchNormalization(
            momentum=0.9, name="normalization", dtype=dtype
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
        features = self.layer.forward(inputs, training=training).value
        positive = tf.nn.relu(self.normalization(features, training=training))
        pooled = tf.reduce_mean(positive, axis=range(1, positive.shape.rank - 1))
        return self.head(pooled)

    def class_log_prob(self, x: Any) -> tf.Tensor:
        """`ln p(class | x)`, `[batch, classes]`, of `x` `[batch, *event]`."""
        logits = self._function("logits", self.call)(tf.convert_to_tensor(x), False)
        return tf.nn.log_softmax(logits)

    def _values(self, x, y, training, seed=None):
        values = classification(self(x, training=training), y)
        return {"loss": values["cross_entropy"], "accuracy": values["accuracy"]}

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}
