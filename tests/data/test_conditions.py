"""What a density is given: columns of a table in standard units, and categories one by one."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.data.conditions import ConditionColumn, encode_condition
from tf_iresnet.data.registry import load


@pytest.fixture
def table(tmp_path):
    """The value of y tells the row's x and kind."""
    rng = np.random.default_rng(0)
    x, kind = rng.normal(50, 9, 80), rng.choice(["u", "v", "w"], 80)
    y = x / 10 + pd.Series(kind).map({"u": 0.0, "v": 100.0, "w": 200.0})
    path = tmp_path / "my.csv"
    pd.DataFrame({"x": x, "kind": kind, "y": y}).to_csv(path, index=False)
    return path


def given_from(y):
    """Standardised x and one of three, from the y of the table above."""
    kind = np.round((y - 5) / 100).astype(int)
    return (y - 100 * kind) * 10, np.eye(3)[kind]


def test_examples_and_conditions_belong_together_in_every_part_and_batch(table):
    dataset = load("table", path=table, target="y")
    assert dataset.columns == ("y",) and dataset.event_shape == (1,)
    assert [column.name for column in dataset.condition] == ["x", "kind"]
    assert dataset.condition_size == 4
    mean, deviation = dataset.condition[0].mean, dataset.condition[0].deviation
    parts = zip(
        (dataset.training_rows(), dataset.validation, dataset.test), dataset.conditions, strict=True
    )
    steps = tf.data.Dataset.range(3, 5).map(dataset.labelled_batches(32, 0))
    for y, condition in (*parts, *steps.as_numpy_iterator()):
        x, kind = given_from(y[:, 0])
        np.testing.assert_allclose(condition[:, 0], (x - mean) / deviation, atol=1e-3)
        np.testing.assert_array_equal(condition[:, 1:], kind)
    standard = dataset.conditions.train[:, 0]
    np.testing.assert_allclose([standard.mean(), standard.std()], [0, 1], atol=1e-5)


def test_a_condition_leaves_the_other_columns_to_the_density(table):
    by_target = load("table", path=table, target="y")
    by_condition = load("table", path=table, condition="kind,x")
    assert by_condition.columns == by_target.columns
    np.testing.assert_array_equal(by_condition.test, by_target.test)
    assert [column.name for column in by_condition.condition] == ["kind", "x"]
    assert any("density is that of y, given kind, x" in note for note in by_condition.notes)
    assert load("table", path=table).conditions is None


def test_a_column_reads_back_from_json():
    columns = [ConditionColumn("x", 2.0, 4.0), ConditionColumn("kind", texts=("a", "b"))]
    read = [
        ConditionColumn.from_dict(json.loads(json.dumps(dataclasses.asdict(column))))
        for column in columns
    ]
    assert read == columns
    np.testing.assert_array_equal(
        encode_condition(read, np.array([[10.0, 1.0], [2.0, 0.0]])), [[2, 0, 1], [0, 1, 0]]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "z"}, r"columns named 'z' among .*columns x, kind, y.*config\.data\.target="),
        ({"condition": "x,q"}, r"columns named 'q' .*config\.data\.condition="),
        ({"target": "x,kind,y"}, "other columns as well"),
        ({"condition": ["x", "kind", "y"]}, "other columns as well"),
    ],
)
def test_what_cannot_be_given_is_named(table, options, message):
    with pytest.raises(data.TableError, match=message):
        load("table", path=table, **options)


def test_target_and_condition_are_two_ways_to_say_one_thing(table):
    with pytest.raises(ValueError, match="target, not both"):
        load("table", path=table, target="y", condition="x")
