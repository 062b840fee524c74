"""Invertible residual networks for TensorFlow, with certified inverses.

import tf_iresnet as tfi

flow = tfi.mlp_flow(2)      # a Keras model: compile, fit, save
flow.distribution()         # the same as a TensorFlow Probability distribution
print(tfi.certify(flow))    # what is proven about its inverse
"""

_ADVICE = (
    "Expected Keras to run on TensorFlow. Received: {}. Set the environment variable "
    "KERAS_BACKEND=tensorflow (or 'backend' in ~/.keras/keras.json) before importing Keras."
)
try:
    import keras as _keras
except ImportError as error:  # another backend, which isn't installed
    raise ImportError(_ADVICE.format(error)) from error
if _keras.config.backend() != "tensorflow":
    raise ImportError(_ADVICE.format(f"backend={_keras.config.backend()!r}"))

from tf_iresnet import layers
from tf_iresnet.certify import Certificate, certify, enforce
from tf_iresnet.models import bases
from tf_iresnet.models.classifier import IResNetClassifier
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.hybrid import HybridFlow
from tf_iresnet.models.images import image_classifier, image_flow, image_hybrid
from tf_iresnet.models.inverse_report import InverseReport, inverse_report
from tf_iresnet.models.recipes import mlp_flow
from tf_iresnet.numerics import log_det

__version__ = "0.2.0"

__all__ = [
    "Certificate", "HybridFlow", "IResNetClassifier", "InverseReport", "ResidualFlow", "bases",
    "bijectors", "certify", "data", "enforce", "image_classifier", "image_flow", "image_hybrid",
    "inverse_report", "layers", "log_det", "mlp_flow",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name in ("bijectors", "data"):  # they load more than most need, so only when asked for
        import importlib

        return importlib.import_module(f"tf_iresnet.{name}")
    raise AttributeError(f"module 'tf_iresnet' has no attribute {name!r}")
