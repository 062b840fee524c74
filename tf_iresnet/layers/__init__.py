"""Keras layers: contractive ones for the branches, invertible ones made of them."""

from tf_iresnet.layers.activations import CLipSwish, CPila, FullSort, LipSwish, MaxMin, Sine
from tf_iresnet.layers.actnorm import ActNorm
from tf_iresnet.layers.branch import ContractiveSequential
from tf_iresnet.layers.composition import Inverse, InvertibleSequential
from tf_iresnet.layers.concatenation import LipschitzConcat
from tf_iresnet.layers.contractive import ContractiveLayer
from tf_iresnet.layers.convolution import SpectralConv1D, SpectralConv2D, SpectralConv3D
from tf_iresnet.layers.gaussianize import Gaussianize, Whiten
from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.layers.lipschitz_mlp import LipschitzMLP
from tf_iresnet.layers.monotone import MonotoneBlock
from tf_iresnet.layers.multiscale import MultiScale
from tf_iresnet.layers.preprocessing import Logit, Rescale
from tf_iresnet.layers.repeated import Repeated
from tf_iresnet.layers.reshaping import ChannelPad, Reshape, Squeeze
from tf_iresnet.layers.residual import ResidualBlock
from tf_iresnet.layers.spectral import SpectralDense
from tf_iresnet.layers.triangular import TriangularBlock
from tf_iresnet.numerics.bound_function import BoundFunction

__all__ = [
    "ActNorm", "BoundFunction", "CLipSwish", "CPila", "ChannelPad", "ContractiveLayer",
    "ContractiveSequential", "FullSort", "Gaussianize", "Inverse", "InvertibleLayer",
    "InvertibleSequential", "LipSwish", "LipschitzConcat", "LipschitzMLP", "Logit", "MaxMin",
    "MonotoneBlock", "MultiScale", "Repeated", "Rescale", "Reshape", "ResidualBlock", "Sine",
    "SpectralConv1D", "SpectralConv2D", "SpectralConv3D", "SpectralDense", "Squeeze",
    "TriangularBlock", "Whiten",
]  # fmt: skip
