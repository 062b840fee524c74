"""Exported models give the model's own numbers where this package can't be imported."""

import os
import pathlib
import re
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.references import points

import tf_iresnet as tfi

SERVING = """
    import pathlib, sys
    sys.modules["tf_iresnet"] = sys.modules["tensorflow_probability"] = None  # can't be imported
    import numpy as np, tensorflow as tf
    for path in pathlib.Path(sys.argv[1]).glob("*.npz"):
        served = tf.saved_model.load(str(path.with_suffix("")))
        with np.load(path) as file:
            calls = {key: file[key] for key in file.files}
        results = {}
        for key in {key.split("/")[0] for key in calls}:
            own = {k.split("/")[1]: v for k, v in calls.items() if k.startswith(key + "/")}
            own = {k: v if v.ndim else v.item() for k, v in own.items()}
            method = key.split()[0]
            results[key] = getattr(served, method)(**own).numpy()
            if own.keys() & {"x", "z"}:  # fewer examples
                few = {k: v[:1] for k, v in own.items()}
                results[key + " few"] = getattr(served, method)(**few).numpy()
            else:
                again = getattr(served, method)(**own).numpy()
                np.testing.assert_array_equal(again, results[key])
        np.savez(path.with_suffix(".results.npz"), **results)
"""


def conditional():
    return tfi.mlp_flow(
        2, num_blocks=2, hidden_units=(8,), condition_size=3, base="learned_normal", seed=1,
        dtype="float64",
    )  # fmt: skip


def hybrid():
    branch = tfi.layers.LipschitzMLP((6,), 2, activation="sine")
    blocks = [tfi.layers.ResidualBlock(branch), tfi.layers.TriangularBlock((3,))]
    return tfi.HybridFlow([tfi.layers.ActNorm(), *blocks], 3)


def classifier():
    convolution = tfi.layers.SpectralConv2D(4, 3, padding="same", activation="elu")
    branch = [convolution, tfi.layers.SpectralConv2D(4, 1)]
    layers = [tfi.layers.Squeeze(), tfi.layers.ResidualBlock(branch)]
    return tfi.IResNetClassifier(layers, num_classes=3)


MODELS = {
    "conditional": (conditional, (2,)),
    "hybrid": (hybrid, (2,)),
    "classifier": (classifier, (4, 2, 1)),
}


def built(name):
    """A model that was never called, with weights that aren't at their defaults, and data."""
    make, event = MODELS[name]
    model = make()
    model.build((None, *event))
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign_add(random.normal(size=weight.shape) / 4)
    dtype = model.layer.variable_dtype
    x = points(5, *event, dtype=dtype).numpy()
    size = model.layer.condition_size
    condition = {} if size is None else {"condition": points(5, size, dtype=dtype).numpy()}
    return model, x, condition


def calls_of(model, x, condition):
    """Calls, by the method's name with what tells two of them apart: keyword arguments."""
    data = {"x": x, **condition}
    z = np.asarray(model.encode(**data))
    calls = {"encode": data, "decode": {"z": z, **condition}}
    if hasattr(model, "class_log_prob"):
        calls["class_log_prob"] = {"x": x}
    if hasattr(model, "log_prob"):
        calls["log_prob"] = data
        calls["sample"] = {"num": 5, "seed": 3, **condition}
        cold = calls["sample cold"] = {**calls["sample"], "temperature": 0.5}
        if hasattr(model, "num_classes"):
            calls["sample_label cold"] = {**cold, "label": 2}
            calls["sample_label"] = {**calls["sample"], "label": np.array([0, 1, 2, 1, 0])}
    return calls


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder with every model, exported before it was ever called; models and data by name."""
    folder, models = tmp_path_factory.mktemp("served"), {}
    for name in MODELS:
        models[name] = model, *_ = built(name)
        model.export(folder / name, verbose=False)
    return folder, models


def test_models_are_served_without_the_package(exported):
    folder, models = exported
    expected = {}
    for name, (model, x, condition) in models.items():
        calls = calls_of(model, x, condition)
        flat = {f"{c}/{k}": v for c, given in calls.items() for k, v in given.items()}
        np.savez(folder / f"{name}.npz", **flat)
        expected[name] = {
            call: getattr(model, call.split()[0].removesuffix("_label"))(**given)
            for call, given in calls.items()
        }
    command = [sys.executable, "-c", textwrap.dedent(SERVING), str(folder)]
    subprocess.run(command, check=True, env=os.environ)
    for name, values in expected.items():
        with np.load(folder / f"{name}.results.npz") as results:
            for call, value in values.items():
                precision = {"rtol": 1e-5, "atol": 2e-5, "err_msg": f"{name}.{call}"}
                assert results[call].dtype == value.dtype
                np.testing.assert_allclose(results[call], value, **precision)
                if f"{call} few" in results:
                    np.testing.assert_allclose(results[f"{call} few"], value[:1], **precision)


def test_signatures_are_those_of_the_functions(exported):
    folder, models = exported
    served = tf.saved_model.load(str(folder / "conditional"))  # kept: it holds the variables
    signatures = served.signatures
    assert set(signatures) == {"serving_default", "log_prob", "sample", "encode", "decode"}
    model, x, condition = models["conditional"]
    (log_prob,) = signatures["serving_default"](x=tf.constant(x), **condition).values()
    np.testing.assert_allclose(log_prob, model.log_prob(x, **condition), rtol=1e-9)
    numbers = {"num": 5, "seed": 2, "temperature": 1.0}
    own = {k: tf.constant(v, signatures["sample"].structured_input_signature[1][k].dtype)
           for k, v in (numbers | condition).items()}  # fmt: skip
    (samples,) = signatures["sample"](**own).values()
    np.testing.assert_allclose(samples, model.sample(5, **condition, seed=2), atol=1e-5)


def test_a_kernel_is_saved_once_and_normalised_once(exported):
    """Neither vectors of power iteration nor sketches are read where the model is served."""
    folder, models = exported
    saved = tf.train.list_variables(str(folder / "conditional" / "variables" / "variables"))
    sizes = [int(np.prod(shape)) for name, shape in saved if name.startswith("weights")]
    model = models["conditional"][0]
    used = [w for w in model.weights if w.trainable or w.name == "initialized"]
    assert sum(sizes) == sum(int(np.prod(weight.shape)) for weight in used)
    state = [weight for weight in model.layer.non_trainable_weights if "vector" in weight.path]
    assert state, "there is what could have been saved"


def test_a_model_goes_on_training_after_it_was_exported(exported):
    folder, models = exported
    model, x, _ = models["classifier"]
    before = model(x)
    kernel = model.layer.trainable_weights[0]
    kernel.assign(-kernel)
    assert np.abs(model(x) - before).max() > 1e-3
    served = tf.saved_model.load(str(folder / "classifier"))
    np.testing.assert_allclose(served.serve(x), before, rtol=1e-5, atol=1e-6)
    kernel.assign(-kernel)


def test_an_input_signature_fixes_batch_size_and_dtype(tmp_path, capsys):
    model, x, _ = built("classifier")
    specs = [keras.InputSpec(shape=(2, 4, 2, 1), dtype="uint8")]
    model.export(tmp_path, input_signature=specs)
    assert "serve(inputs); class_log_prob(x); encode(x); decode(z)" in capsys.readouterr().out
    served = tf.saved_model.load(str(tmp_path))
    levels = np.arange(16, dtype="uint8").reshape(2, 4, 2, 1)
    np.testing.assert_allclose(served.serve(levels), model(levels.astype("f4")), rtol=1e-4)
    for wrong in (levels[:1], tf.constant(x[:2])):
        with pytest.raises(TypeError, match=r"Can not cast .* TensorSpec\(shape=\(2, 4, 2, 1\)"):
            served.serve(wrong)


def test_neither_rows_nor_numbers_make_new_traces(exported):
    """A server that keeps a trace for each seed would grow by megabytes with every request."""
    folder, models = exported
    served, (_, x, _) = tf.saved_model.load(str(folder / "hybrid")), models["hybrid"]
    for rows in (1, 3, 5):
        served.log_prob(x[:rows])
        served.sample(rows, seed=rows)
        served.sample_label(rows, label=rows % 3, seed=rows, temperature=rows / 5)
    for function in (served.log_prob, served.sample, served.sample_label):
        assert function.experimental_get_tracing_count() == 1


REFUSED = {
    "format": ({"format": "onnx"}, r"folded\(\).export\(filepath, format='onnx'\)"),
    "event": ({"input_signature": [tf.TensorSpec([None, 3])]}, r"specs of x \[None, 4, 2, 1\]"),
    "number": (
        {"input_signature": [tf.TensorSpec([None, 4, 2, 1])] * 2},
        r"specs of x \[None, 4, 2, 1\]",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_export_does_not_do_is_said(arguments, message, tmp_path):
    model, *_ = built("classifier")
    with pytest.raises(ValueError, match=message):
        model.export(tmp_path / "served", **arguments)
    assert not (tmp_path / "served").exists()


def test_a_model_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match="isn't built: call it on data"):
        hybrid().export(tmp_path / "served")
    with pytest.raises(ValueError, match="isn't built: call it on data"):
        hybrid().folded()


@pytest.mark.parametrize("name", MODELS)
def test_the_folded_model_is_the_map_from_data(name, exported):
    model, x, condition = exported[1][name]
    expected = model(x) if name == "classifier" else model.encode(x, **condition)
    plain = model.folded()
    outputs = plain([x, condition["condition"]] if condition else x)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    assert plain.name == model.name


def test_the_documented_example_runs(tmp_path, monkeypatch):
    """The blocks of docs/serving.md, in order."""
    monkeypatch.chdir(tmp_path)
    text = (pathlib.Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    names = {
        "x": points(4, 2, dtype="float32"), "condition": points(4, 1, dtype="float32", seed=1)
    }  # fmt: skip
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block.replace("condition_size=1", "condition_size=1, num_blocks=1"), names)
    flow, data = names["flow"], (names["x"], names["condition"])
    np.testing.assert_allclose(names["z"], flow.encode(*data), atol=1e-5)
    loaded = keras.models.load_model("encoder.keras")
    np.testing.assert_allclose(loaded(list(data)), names["z"], atol=1e-5)
    interpreter = tf.lite.Interpreter(model_content=names["content"])
    (runner,) = interpreter.get_signature_list()
    outputs = interpreter.get_signature_runner(runner)(x=data[0], condition=data[1])
    np.testing.assert_allclose(*outputs.values(), names["z"], atol=1e-5)
