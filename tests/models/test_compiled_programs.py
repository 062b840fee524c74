"""What accelerators are given: every program lowers to HLO that any compiler of XLA takes."""

import functools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet as tfi

BATCH = 5
ESTIMATORS = {
    "auto": "auto",
    "exact": "exact",
    "series": {"name": "power_series", "terms": 4},
    "long series": {"name": "power_series", "terms": 40},
    "Krylov": {"name": "krylov", "steps": 4},
    "adaptive Krylov": {"name": "krylov", "steps": 12, "tolerance": 1e-4},
    "roulette": "russian_roulette",
}


def dense(log_det, **kwargs):
    return tfi.mlp_flow(6, 2, (8, 8), log_det=log_det, seed=1, **kwargs)


def images(log_det, blocks=(3,), **kwargs):
    options = {"width": 4, "tail_blocks": 0, "log_det": log_det, "seed": 1, **kwargs}
    return tfi.image_flow((4, 4, 2), blocks=blocks, **options)


MODELS = {
    "dense": dense,
    "dense by Gram": functools.partial(dense, normalization="gram"),
    "dense, recomputed": functools.partial(dense, memory="recompute"),
    "dense, inverted": functools.partial(dense, memory="invert"),
    "Lipschitz MLP": functools.partial(dense, branch="lipschitz_mlp"),
    "monotone": functools.partial(dense, block="monotone", activation="cpila"),
    "implicit": functools.partial(dense, block="implicit"),
    "triangular": functools.partial(dense, block="triangular"),
    "conv": images,
    "conv, recomputed": functools.partial(images, memory="recompute"),
    "multi-scale": functools.partial(images, blocks=(2, 2), factor_out=True, tail_blocks=1),
}
PAIRS = [
    *((model, log_det) for model in ("dense", "conv") for log_det in ESTIMATORS),
    *((m, e) for m in ("monotone", "multi-scale") for e in ("exact", "series", "Krylov")),
    *((m, "series") for m in ("dense by Gram", "dense, recomputed", "dense, inverted")),
    *((m, "series") for m in ("Lipschitz MLP", "implicit", "triangular", "conv, recomputed")),
]
STEP, LOG_PROB, DECODE = "training step", "log_prob", "decode"
# The inverse doesn't depend on the estimator.
PROGRAMS = [
    *((*pair, program) for pair in PAIRS for program in (STEP, LOG_PROB)),
    *((model, "series", DECODE) for model in MODELS),
]
FAST = {
    ("dense", "exact", STEP), ("dense", "series", STEP), ("dense", "Krylov", LOG_PROB),
    ("dense, recomputed", "series", STEP), ("dense", "series", DECODE),
    ("monotone", "series", LOG_PROB), ("conv", "series", LOG_PROB),
}  # fmt: skip


@functools.cache
def built(model, log_det):
    """A flow that is ready for steps, and a batch."""
    flow = MODELS[model](ESTIMATORS[log_det])
    flow.compile(keras.optimizers.Adam(1e-3), jit_compile=True)
    flow.optimizer.build(flow.trainable_variables)
    shape = (BATCH, *flow.event_shape)
    return flow, tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)


@functools.cache
def lowered(model, log_det, program):
    """The program's HLO as text, before any optimisation."""
    flow, x = built(model, log_det)
    if program == DECODE:  # latents of images are vectors
        x = tf.reshape(x, flow.layer.compute_output_shape(x.shape))
    function = {
        STEP: lambda x: flow.train_step((x,)),
        LOG_PROB: lambda x: flow.log_prob(x, seed=3),
        DECODE: lambda z: flow.decode(z),
    }[program]
    compiled = tf.function(function, jit_compile=True, autograph=False)
    return compiled.experimental_get_compiler_ir(x)(stage="hlo")


TRANSFERS = "infeed|outfeed|send|recv|send-done|recv-done"
FORBIDDEN = {
    "custom call": r" custom-call\(.*custom_call_target=\"\w+\"",
    "double precision": r" (?:f64|c128)\[[^=]*",
    "callback to the host": rf" (?:{TRANSFERS})\(.*",
    "dynamic shape": r"\w+\[[\d,]*<=.*",
}
# Matrix inverses of Cayley transforms, by the QR decomposition that XLA itself writes out.
OF_XLA = ("Qr", "ProductOfElementaryHouseholderReflectors")


def violations(program):
    """What of the program some compiler of XLA, or some device, doesn't take."""
    found = {name: re.findall(pattern, program) for name, pattern in FORBIDDEN.items()}
    return {name: matches[:3] for name, matches in found.items() if matches}


@pytest.mark.parametrize(
    ("model", "log_det", "program"),
    [
        pytest.param(*names, id=", ".join(names), marks=[pytest.mark.slow] * (names not in FAST))
        for names in PROGRAMS
    ],
)
def test_programs_are_static_and_of_xla_alone(model, log_det, program):
    text = lowered(model, log_det, program)
    assert text.startswith("HloModule") and " f32[" in text
    if model == "Lipschitz MLP":
        text = re.sub(rf" custom-call\(.*custom_call_target=\"({'|'.join(OF_XLA)})\"", "", text)
    assert violations(text) == {}


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: tf.linalg.inv(x), "custom call"),
        (lambda x: tf.cast(x, tf.float64), "double precision"),
        (lambda x: tf.gather_nd(x, tf.where(x > 0)), "dynamic shape"),
    ],
)
def test_what_is_forbidden_is_seen(function, name):
    compiled = tf.function(function, jit_compile=True, autograph=False)
    text = compiled.experimental_get_compiler_ir(tf.eye(3))(stage="hlo")
    assert [*violations(text)] == [name]
