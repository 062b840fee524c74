"""What SECURITY.md says: a file that holds a program is refused, and the program isn't run."""

import json
import pathlib
import zipfile

import keras
import numpy as np
import pytest

import tf_iresnet
from tf_iresnet import data
from tf_iresnet.training.saved_run import SavedRun
from tf_iresnet.training.scores import read_reference
from tf_iresnet.training.workdir import RunError


class Payload:
    """Pickled, it makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (pathlib.Path.touch, (self.path,))


@pytest.fixture
def evidence(tmp_path):
    """The file that a program would have made."""
    return tmp_path / "executed"


@pytest.fixture
def pickled(tmp_path, evidence):
    """name → path of a file with a pickle in it that makes the evidence."""
    array = np.empty((30, 2), object)
    array[:] = Payload(evidence)

    def write(name):
        path = tmp_path / name
        if path.suffix == ".npy":
            np.save(path, array, allow_pickle=True)
        else:
            np.savez(path, x_train=array, x_test=array)
        return path

    return write


def test_the_payload_is_one(pickled, evidence):
    np.load(pickled("rows.npy"), allow_pickle=True)
    assert evidence.exists()


@pytest.mark.parametrize("name", ["rows.npy", "rows.npz"])
@pytest.mark.parametrize("door", ["table", "image_arrays"])
def test_pickles_in_data_are_refused(door, name, pickled, evidence):
    with pytest.raises(data.DataError, match=name):
        data.load(door, path=pickled(name))
    assert not evidence.exists()


def test_pickles_in_published_images_of_ones_own_are_refused(pickled, evidence):
    with pytest.raises(data.DataError, match=r"mnist\.npz"):
        data.load("mnist", path=pickled("mnist.npz"))
    assert not evidence.exists()


def test_pickles_in_a_reference_are_refused(pickled, evidence):
    with pytest.raises(RunError, match=r"reference\.npz"):
        read_reference(pickled("reference.npz"))
    assert not evidence.exists()


def test_a_model_with_a_function_in_it_is_refused(tmp_path, evidence):
    path = evidence

    def touch(x):
        pathlib.Path(str(path)).touch()
        return x

    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: touch(x))])
    evidence.unlink(missing_ok=True)
    model.save(tmp_path / "model.keras")
    evidence.unlink(missing_ok=True)
    with pytest.raises(RunError, match=r"model\.keras"):
        SavedRun(model=str(tmp_path / "model.keras"))
    assert not evidence.exists()


def test_a_model_of_a_class_that_is_not_a_layer_is_refused(tmp_path, evidence):
    """A config that names any function of any module as its class."""
    flow = tf_iresnet.mlp_flow(2, num_blocks=1, hidden_units=(4,), seed=0)
    flow.save(tmp_path / "flow.keras")
    with zipfile.ZipFile(tmp_path / "flow.keras") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    config |= {"module": "os", "class_name": "system", "registered_name": None}
    config["config"] = {"command": f"touch {evidence}"}
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(RunError, match=r"model\.keras"):
        SavedRun(model=str(tmp_path / "model.keras"))
    assert not evidence.exists()


def test_a_formula_is_not_computed(tmp_path):
    rows = ["a,b", "=1+1,2", *(f"{k},{k % 7}" for k in range(40))]
    (tmp_path / "formula.csv").write_text("\n".join(rows))
    with pytest.raises(data.DataError, match=r"formula\.csv.*=1\+1"):
        data.load("table", path=tmp_path / "formula.csv")
