"""A policy of half precision that a config names: it takes effect, is kept, and proofs hold."""

import keras
import numpy as np
import pytest

from tf_iresnet import certify
from tf_iresnet.layers.spectral import SpectralLayer
from tf_iresnet.training import build
from tf_iresnet.training.train import resolve, train_and_evaluate
from tf_iresnet.training.workdir import RunError

TOY = {"name": "toy", "density": "8gaussians", "validation_size": 50, "test_size": 50}
FLOW = {"num_blocks": 2, "hidden_units": [8], "activation": "sine", "log_det": "exact"}
SMALL = {"blocks": [1], "width": 4, "preprocessing": "centered"}
DENSITY = {**SMALL, "architecture": "resflow-mnist", "tail_blocks": 0}
# section `model`, section `data`
KINDS = {
    "flow": (FLOW, TOY),
    "fitted": ({**FLOW, "base": "fitted_mixture"}, {"name": "digits"}),
    "images": (DENSITY, {"name": "digits_image"}),
    "hybrid": ({**DENSITY, "task": "hybrid"}, {"name": "digits_image"}),
    "classifier": (
        {**SMALL, "architecture": "iresnet-classifier-cifar10", "pad_channels": 0,
         "task": "classifier"},
        {"name": "digits_image"},
    ),
}  # fmt: skip


def made(kind, dtype, **training):
    model, data = KINDS[kind]
    training = {"batch_size": 16, "steps_per_epoch": 3, "epochs": 1, **training}
    config = resolve({"model": {**model, "dtype": dtype}, "data": data, "training": training})
    dataset = build.make_dataset(config)
    return config, dataset, build.make_model(config, dataset)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("flow", "mixed_bfloat16")]
    + [
        pytest.param(kind, dtype, marks=pytest.mark.slow)
        for kind in KINDS
        for dtype in ("mixed_bfloat16", "mixed_float16")
        if (kind, dtype) != ("flow", "mixed_bfloat16")
    ],
)
def test_training_rounds_inference_does_not_and_the_model_that_is_saved_knows(
    kind, dtype, tmp_path
):
    _, dataset, model = made(kind, dtype)
    x = np.asarray(dataset.validation[:16])
    y = dataset.labels.validation[:16] if model.has_labels else None
    exact = made(kind, "float32")[2]
    for ours, theirs in zip(exact.weights, model.weights, strict=True):
        ours.assign(theirs)
        if ours.name == "initialized":  # not by data, which rounding would change
            ours.assign(np.ones(ours.shape)), theirs.assign(np.ones(ours.shape))
    epsilon = {"mixed_bfloat16": 2**-7, "mixed_float16": 2**-10}[dtype]
    for training, least, most in ((True, 1e-7, 8 * epsilon), (False, 0.0, 1e-6)):
        one, two = (np.asarray(m._values(x, y, training).means["loss"]) for m in (exact, model))
        assert two.dtype == np.float32
        error = np.max(np.abs(two - one)) / np.max(np.abs(one))
        assert least <= error <= most, (training, error)
    for _ in range(3):
        model.train_on_batch(x, y)
    model.store_norms()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    branches = [layer for layer in loaded._flatten_layers() if isinstance(layer, SpectralLayer)]
    assert {layer.dtype_policy.name for layer in branches} == {dtype}
    assert {weight.dtype for weight in loaded.trainable_weights} == {"float32"}
    assert certify(loaded).invertible
    np.testing.assert_array_equal(loaded.encode(x), model.encode(x))
    np.testing.assert_allclose(loaded.decode(loaded.encode(x)), x, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flow", "hybrid"])
def test_a_whole_run_in_half_precision(kind, tmp_path):
    """By a scaled loss, in parts, to a report."""
    model, data = KINDS[kind]
    training = {"batch_size": 16, "steps_per_epoch": 4, "epochs": 2, "accumulate_steps": 2}
    training |= {"evaluation_examples": 10, "warmup_steps": 0}
    config = {"model": {**model, "dtype": "mixed_float16"}, "data": data, "training": training}
    figures = train_and_evaluate(config, tmp_path / "run")
    assert figures["invertible"] and figures["inverse_converged"]
    assert np.isfinite(figures["negative_log_likelihood"]) and figures["best_epoch"] == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dtype": "int8"}, r"config\.model\.dtype to be one of float32, .* or None\..*'int8'"),
        ({"dtype": 16}, r"config\.model\.dtype to be one of float32, .* or None\..*16"),
        ({"dtype": "mixed_bfloat16", "memory": "invert"}, "trained in bfloat16"),
    ],
)
def test_what_can_not_be_honoured_is_refused(fields, message):
    model, data = KINDS["flow"]
    with pytest.raises(RunError, match=message) as error:
        train_and_evaluate({"model": {**model, **fields}, "data": data, "training": {}}, "run")
    assert "\n" not in str(error.value)
