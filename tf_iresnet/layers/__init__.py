"""Keras layers: contractive ones for the branches, invertible ones made of them."""

from tf_iresnet.layers.activations import (
    CLipSwish,
    CPila,
    FullSort,
    LipSwish,
    MaxMin,
    NonExpansive,
    Sine,
)
from tf_iresnet.layers.contractive import BoundFunction, ContractiveLayer, ContractiveSequential
from tf_iresnet.layers.invertible import Inverse, InvertibleLayer, InvertibleSequential
from tf_iresnet.layers.normalization import ActNorm
from tf_iresnet.layers.preprocessing import Logit, Rescale
from tf_iresnet.layers.repeated import Repeated
from tf_iresnet.layers.residual import ResidualBlock
from tf_iresnet.layers.spectral import SpectralDense

__all__ = [
    "ActNorm",
    "BoundFunction",
    "CLipSwish",
    "CPila",
    "ContractiveLayer",
    "ContractiveSequential",
    "FullSort",
    "Inverse",
    "InvertibleLayer",
    "InvertibleSequential",
    "LipSwish",
    "Logit",
    "MaxMin",
    "NonExpansive",
    "Repeated",
    "Rescale",
    "ResidualBlock",
    "Sine",
    "SpectralDense",
]
