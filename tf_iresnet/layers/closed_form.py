"""The base of layers without weights whose inverse and log-determinant are closed forms."""

import tensorflow as tf

from tf_iresnet.layers.invertible import InvertibleLayer, Mapped


class ClosedFormLayer(InvertibleLayer):
    """A fixed map; a subclass defines `transform` and `restore`, and `log_det_at` if it isn't 0."""

    def transform(self, x: tf.Tensor) -> tf.Tensor:
        """The outputs for `x`."""
        raise TypeError(f"{type(self).__name__} must define transform()")

    def restore(self, y: tf.Tensor) -> tf.Tensor:
        """The inputs for `y`."""
        raise TypeError(f"{type(self).__name__} must define restore()")

    def log_det_at(self, x: tf.Tensor) -> tf.Tensor:
        """`ln|det ∂y/∂x|`, `[batch]`."""
        return tf.zeros(tf.shape(x)[:1], x.dtype)

    def push(self, bound, x, how=None):
        return Mapped.exact(self.transform(x), how and self.log_det_at(x))

    def pull(self, bound, y, how=None):
        x = self.restore(y)
        return Mapped.exact(x, how and -self.log_det_at(x))
