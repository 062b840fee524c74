"""The published architectures: their numbers of parameters, and that they run at full size."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from tf_iresnet import image_flow
from tf_iresnet.layers.activations import Activation
from tf_iresnet.layers.actnorm import ActNorm
from tf_iresnet.layers.branch import ContractiveSequential
from tf_iresnet.layers.composition import InvertibleSequential
from tf_iresnet.layers.concatenation import LipschitzConcat
from tf_iresnet.layers.convolution import SpectralConv2D
from tf_iresnet.layers.repeated import Repeated
from tf_iresnet.layers.residual import ResidualBlock
from tf_iresnet.layers.spectral import SpectralDense
from tf_iresnet.models.architectures import ARCHITECTURES, get
from tf_iresnet.models.image_layers import ImageLayers
from tf_iresnet.models.images import image_classifier

SHAPES = {
    "iresnet-mnist": (32, 32, 3),
    "iresnet-classifier-mnist": (28, 28, 1),
    "iresnet21-classifier-mnist": (28, 28, 1),
    "resflow-mnist": (28, 28, 1),
    "resflow-imagenet64": (64, 64, 3),
    "resflow-celeba256": (256, 256, 3),
}
# Millions of parameters: Residual Flows, arXiv 1906.02735, table 4's models as published in their
# code; i-DenseNets, arXiv 2102.02694, section 5.
MILLIONS = {
    "resflow-cifar10": 25.2,
    "resflow-imagenet32": 47.1,
    "idensenet-cifar10": 24.9,
    "idensenet-imagenet32": 47.0,
}


def shape_of(name):
    return SHAPES.get(name, (32, 32, 3))


# -- by arithmetic on the layers' settings: nothing is built ---------------------------------------


def parameters(layer, shape):
    """Trainable weights of a layer for events of that shape, from its settings alone."""
    if isinstance(layer, (InvertibleSequential, ContractiveSequential)):
        total = 0
        for inner in layer.layers:
            total += parameters(inner, shape)
            shape = after(inner, shape)
        return total
    if isinstance(layer, Repeated):
        return layer.times * parameters(layer.layer, shape)
    if isinstance(layer, ResidualBlock):
        assert after(layer.branch, shape) == shape, "the branch must return what it gets"
        return parameters(layer.branch, shape)
    if isinstance(layer, LipschitzConcat):
        return 2 + parameters(layer.layer, shape)
    if isinstance(layer, SpectralConv2D):
        return (math.prod(layer.kernel_size) * shape[-1] + 1) * layer.filters
    if isinstance(layer, SpectralDense):
        return (shape[-1] + 1) * layer.units
    if isinstance(layer, ActNorm):
        return 2 * shape[-1]
    return int(isinstance(layer, Activation) and "LipSwish" in type(layer).__name__)


def after(layer, shape):
    return tuple(layer.compute_output_shape((None, *shape))[1:])


def count(name, **changes):
    """Parameters of the network, and the number of its outputs."""
    architecture, shape = get(name, **changes), shape_of(name)
    total = outputs = 0
    stages = list(ImageLayers(architecture, 0, "auto", 1e-5, "store", None).stages(shape))
    for index, stage in enumerate(stages):
        for layer in stage:
            total += parameters(layer, shape)
            shape = after(layer, shape)
        if architecture.factor_out and index < len(stages) - 1:
            leave = shape[-1] // 2
            outputs += math.prod(shape[:-1]) * leave
            shape = (*shape[:-1], shape[-1] - leave)
    return total, outputs + math.prod(shape)


@pytest.mark.parametrize("name", MILLIONS)
def test_published_numbers_of_parameters(name):
    assert count(name)[0] == pytest.approx(1e6 * MILLIONS[name], rel=0.01)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_fits_its_images(name):
    height, width, channels = shape_of(name)
    padded = height * width * get(name).pad_channels // (4 if get(name).squeeze_first else 1)
    total, outputs = count(name)
    assert total > 0 and outputs == height * width * channels + padded


# -- at full size --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_built_with_the_parameters_counted_above(name):
    """CelebA's with one block of the 16 at each scale: all of them take half an hour."""
    changes = {"blocks": (1,) * 6} if name == "resflow-celeba256" else {}
    arguments = {"architecture": name, "seed": 0, **changes}
    if "classifier" in name:
        model = image_classifier(shape_of(name), num_classes=10, **arguments)
    else:
        model = image_flow(shape_of(name), **arguments)
    built = sum(int(np.prod(w.shape)) for w in model.layer.trainable_weights)
    assert built == count(name, **changes)[0]


STEP = """
import json, resource, sys, time
import keras, numpy as np, tensorflow as tf
import tf_iresnet as tfi

memory, examples = sys.argv[1], int(sys.argv[2])
clock = time.monotonic()
flow = tfi.image_flow(
    (32, 32, 3), "resflow-cifar10", seed=0, memory=memory,
    preprocessing=[tfi.layers.Rescale(1 / 256), tfi.layers.Logit(0.05)],
    log_det={"name": "auto", "training": {"name": "russian_roulette", "exact_terms": 2}},
)
images = np.random.default_rng(0).uniform(0, 256, (examples, 32, 32, 3)).astype("float32")
flow.compile(optimizer=keras.optimizers.Adam(1e-3))
report = {"build_seconds": time.monotonic() - clock}
clock = time.monotonic()
report["loss"] = float(flow.train_on_batch(images, return_dict=True)["loss"])
report["step_seconds"] = time.monotonic() - clock
report["gibibytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
"""
INVERSE = """
from tf_iresnet.layers.residual import ResidualBlock
from tf_iresnet.layers.repeated import Repeated

def seconds():
    global clock
    passed, clock = time.monotonic() - clock, time.monotonic()
    return passed

def parts(layer):
    layer = layer.layer if isinstance(layer, Repeated) else layer
    if isinstance(layer, ResidualBlock):
        yield layer
        return
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        yield from parts(inner)

def log_det(terms):
    for block in blocks:
        block.log_det = tfi.log_det.PowerSeries(terms)
    return flow.layer.forward_with_log_det(images[:1], seed=seed)

# The last convolution of a branch the transpose of its first one: then the Jacobian is far from a
# random matrix, whose log-determinant would be about 0. At their full size 48 such blocks would
# stretch images beyond what float32 resolves.
kernels = [w for w in flow.layer.trainable_weights if "kernel" in w.path and 512 in w.shape]
for first, middle, last in zip(kernels[::3], kernels[1::3], kernels[2::3]):
    middle.assign(tf.broadcast_to(0.3 * tf.eye(512), middle.shape))
    first.assign(20 * first.value)  # beyond the bound
    last.assign(tf.linalg.matrix_transpose(tf.reverse(first.value, [-4, -3])))
flow.store_norms()
blocks = list(parts(flow.layer))
seed = tf.constant([1, 2], tf.int32)
report["few_terms"] = float(log_det(1)[1][0])
clock = time.monotonic()
z, forward = log_det(20)
report["forward_seconds"] = seconds()
x, backward = flow.layer.inverse_with_log_det(z, seed=seed)
report["inverse_seconds"] = seconds()
report["largest_latent"] = float(tf.reduce_max(tf.abs(z)))
report["inverse_error"] = float(tf.reduce_max(tf.abs(x - images[:1])))
report["log_det"] = [float(forward[0]), -float(backward[0])]
report["more_terms"] = float(log_det(40)[1][0])
"""


def run(program, *arguments):
    command = [sys.executable, "-c", f"{program}\nprint(json.dumps(report))", *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout.splitlines()[-1])
    print(report)
    assert np.isfinite(report["loss"])
    return report


@pytest.mark.slow
def test_resflow_cifar10_trains_on_a_batch_of_64_in_24_gibibytes():
    assert run(STEP, "recompute", 64)["gibibytes"] < 24


@pytest.mark.slow
def test_resflow_cifar10_trains_in_eight_gibibytes_and_inverts():
    report = run(STEP + INVERSE, "store", 2)
    assert report["gibibytes"] < 8
    assert report["inverse_error"] < 1e-2  # of 256 levels
    forward, backward = report["log_det"]
    assert forward == pytest.approx(backward, rel=1e-5)
    assert forward == pytest.approx(report["more_terms"], rel=1e-5)
    assert abs(forward - report["few_terms"]) > 1  # so there was something to agree about
