"""`data.load` refuses a value of another type than the option's, by the option's name."""

import inspect

import numpy as np
import pandas as pd
import pytest

from tf_iresnet import data

TAKES_PATH = [
    name for name, load in data.DATASETS.items() if "path" in inspect.signature(load).parameters
]
EVERY = [
    (name, option)
    for name, load in data.DATASETS.items()
    for option in inspect.signature(load).parameters
]


@pytest.mark.parametrize(("name", "option"), EVERY)
def test_no_option_takes_an_object(name, option):
    options = {"path": "nowhere"} if name in TAKES_PATH else {}
    with pytest.raises(ValueError, match=rf"^Expected {option} to be .*Received: {option}=<obj"):
        data.load(name, **{**options, option: object()})


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        ("image_folder", "flip", "yes", "True or False"),
        ("image_folder", "stream", "x", "True, False or None"),
        ("image_folder", "channels", True, "a whole number or None"),
        ("image_folder", "channels", 3.0, "a whole number or None"),
        ("image_folder", "size", "8", "a whole number"),
        ("image_folder", "size", 2.5, "a whole number"),
        ("image_folder", "validation", "x", "a finite number"),
        ("image_folder", "validation", None, "a finite number"),
        ("image_folder", "validation", float("nan"), "a finite number"),
        ("image_folder", "validation", 10**400, "a finite number"),
        ("image_folder", "split_seed", 1.5, "a whole number from 0 to 4294967295"),
        ("image_folder", "path", None, "a text"),
        ("image_arrays", "levels", "x", "a whole number"),
        ("table", "columns", 5, "a text, a list or None"),
        ("table", "columns", np.array(5), "a text, a list or None"),
        ("table", "header", 1, "True, False or None"),
        ("toy", "test_size", "many", "a whole number"),
        ("mnist", "padded", 1, "True or False"),
    ],
)
def test_the_message_says_what_the_option_is(name, option, value, message):
    with pytest.raises(ValueError, match="Expected") as refused:
        data.load(name, **{**({"path": "nowhere"} if name in TAKES_PATH else {}), option: value})
    assert str(refused.value) == f"Expected {option} to be {message}. Received: {option}={value!r}."


def test_a_name_is_a_text():
    with pytest.raises(ValueError, match=r"the name of a data set: toy.*Received: name=\['toy'\]"):
        data.load(["toy"])


def test_a_table_read_by_itself_refuses_types_as_well(tmp_path):
    with pytest.raises(ValueError, match=r"Expected exclude to be a text, a list or None\. "):
        data.tables.load_table(tmp_path / "nowhere.csv", exclude=5)


def test_lists_may_be_arrays_and_numbers_may_be_those_of_numpy(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=[99, 3]), columns=list("abc"))
    frame.to_csv(tmp_path / "my.csv", index=False)
    some = {"validation": np.float32(0.1), "split_seed": np.int64(1), "na_values": [-999]}
    for columns in (frame.columns[:2], np.array(["a", "b"]), ("a", "b"), "a,b"):
        dataset = data.load("table", path=tmp_path / "my.csv", columns=columns, **some)
        assert dataset.columns == ("a", "b")


@pytest.mark.parametrize("seed", [-1, 2**32])
@pytest.mark.parametrize("door", ["array", "blocks"])
def test_a_seed_that_no_split_has_is_named(door, seed, tmp_path):
    if door == "array":
        path, options = tmp_path / "my.npy", {}
        np.save(path, np.random.default_rng(0).normal(size=[99, 2]))
    else:
        path, options = tmp_path / "my.parquet", {"stream": True}
        pd.DataFrame({"a": np.arange(99) ** 0.5}).to_parquet(path)
    message = (
        rf"split_seed to be a whole number from 0 to 4294967295\. Received: split_seed={seed}\."
    )
    with pytest.raises(ValueError, match=message):
        data.load("table", path=path, split_seed=seed, **options)
