"""Columns as they come: what is found in them, and back again from samples to their own values."""

import json

import numpy as np
import pytest

from tf_iresnet import data
from tf_iresnet.data.column_evidence import find_form, find_forms
from tf_iresnet.data.columns import ColumnForm, decode, encode, usual_rows

RNG = np.random.default_rng(0)
N = 400


def zeros(values, share=0.5):
    return np.where(RNG.uniform(size=N) < share, 0.0, values)


RAIN = RNG.gamma(0.7, 5, N)
# A column, and what is to be found in it.
COLUMNS = {
    "normal": (RNG.normal(size=N), {"step": 0, "low": None, "high": None, "atoms": ()}),
    "float32": (RNG.normal(size=N).astype("float32"), {"step": 0}),
    "heights": (RNG.normal(170, 8, N).round(1), {"step": 0.1, "low": None, "high": None}),
    "halves": (np.round(2 * RNG.normal(5, 2, N)) / 2, {"step": 0.5, "low": None, "high": None}),
    "cents": (RNG.lognormal(3, 1, N).round(2), {"step": 0.01, "low": 0, "atoms": ()}),
    "float32 cents": (RNG.normal(size=N).round(2).astype("float32"), {"step": 0.01}),
    "dozens": (12.0 * RNG.integers(1, 40, N) + 3, {"step": 12, "origin": 15}),
    "counts": (RNG.poisson(3, N), {"step": 1, "low": 0, "high": None, "atoms": ()}),
    "ratings": (RNG.choice(5, N, p=[0.05, 0.1, 0.2, 0.3, 0.35]) + 1, {"low": 1, "high": 5}),
    "yes and no": (RNG.integers(0, 2, N), {"step": 1, "low": 0, "high": 1}),
    "standardised": ((RNG.poisson(5, N) - 5.123) / 2.2, {"step": 1 / 2.2}),
    "logarithms": (np.log(1 + RNG.poisson(3, N)), {"step": 1, "low": None, "high": None}),
    "rain": (zeros(RAIN), {"step": 0, "low": 0, "atoms": (0,), "atom_width": 10}),
    "rain in km": (zeros(RAIN) / 1e6, {"low": 0, "atoms": (0,), "atom_width": 1e-5}),
    "rain in tenths": (zeros(RAIN.round(1)), {"step": 0.1, "atoms": (0,), "atom_width": 10}),
    "many zeros": (zeros(RNG.poisson(20, N), 0.3), {"step": 1, "atoms": (0,), "atom_width": 10}),
    "capped": (np.minimum(RNG.normal(size=N), 1.0), {"high": 1, "atoms": (1,), "low": None}),
    "shares": (RNG.beta(0.7, 0.7, N), {"step": 0, "low": 0, "high": 1}),
    "percent": ((100 * RNG.beta(2, 1, N)).round(1), {"step": 0.1, "high": 100}),
    "correlations": (np.tanh(2 * RNG.normal(size=N)), {"low": -1, "high": 1}),
    "debts": (-RNG.exponential(size=N), {"high": 0, "low": None}),
    "millions": (1e6 * np.arange(N), {"step": 1e6}),
    "rare events": (zeros(RNG.lognormal(0, 2, N), 0.97), {"usual": (None, None), "low": 0}),
    "cauchy": (RNG.standard_cauchy(N), {"usual": (None, None)}),
    "pareto": (RNG.pareto(1.2, N), {"usual": (None, None), "low": 0}),
}
names = pytest.mark.parametrize("name", COLUMNS)


@names
def test_what_is_found(name):
    values, expected = COLUMNS[name]
    form, notes = find_form(name, np.asarray(values, float))
    for field, value in expected.items():
        found = getattr(form, field)
        assert found == (pytest.approx(value) if field in ("step", "origin") else value), field
    assert notes == []


@names
def test_cells_go_there_and_back(name):
    """Wherever in its cell noise puts a value; all cells that are held apart, in their order."""
    values = np.unique(np.asarray(COLUMNS[name][0], float))
    form, _ = find_form(name, np.asarray(COLUMNS[name][0], float))
    lower, width = form.encode(values), form.widths(values)
    for share in (0.0 if not form.step else 1e-4, 0.5, 1 - 1e-4):
        np.testing.assert_allclose(form.decode(lower + share * width), values, rtol=1e-6, atol=1e-9)
    gaps = lower[1:] - (lower + width)[:-1]
    assert np.all(gaps > -1e-7 * (1 + np.abs(lower[1:])))
    assert ColumnForm.from_dict(json.loads(json.dumps(form.to_dict()))) == form


@names
def test_no_point_leaves_the_bounds_or_the_steps(name):
    form, _ = find_form(name, np.asarray(COLUMNS[name][0], float))
    x = 10 * np.abs(np.asarray(COLUMNS[name][0])).max() * RNG.standard_normal(10_000)
    values = form.decode(x)
    assert form.low is None or values.min() >= form.low
    assert form.high is None or values.max() <= form.high
    if form.levels:
        assert set(values) <= set(form.levels)
    elif form.step:
        steps = (values - form.origin) / form.step
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
        assert form.step != 0.1 or np.all(values == values.round(1)), "no 0.30000000000000004"
    np.testing.assert_allclose(form.decode(form.encode(values) + form.widths(values) / 2), values)


@pytest.mark.parametrize("seed", range(20))
def test_random_forms_go_there_and_back(seed):
    random = np.random.default_rng(seed)
    step = random.choice([0.0, 0.01, 0.25, 0.5, 1.0, 7.0])
    origin = float(np.round(random.normal(), 2))
    grid = origin + (step or 0.37) * np.sort(random.choice(200, 30, replace=False))
    atoms = tuple(np.sort(random.choice(grid, random.integers(0, 4), replace=False)).tolist())
    width = 10.0 ** random.integers(1, 3)
    form = ColumnForm("x", step, origin, atoms=atoms, atom_width=width)
    noise = random.uniform(1e-6, 1 - 1e-6, 30)
    encoded = form.encode(grid) + noise * form.widths(grid)
    np.testing.assert_allclose(form.decode(encoded), grid, atol=1e-9)
    assert np.all(np.diff(encoded) > 0)
    np.testing.assert_array_equal(form.widths(grid)[np.isin(grid, atoms)], width)


def test_a_density_of_encoded_values_is_one_of_the_values():
    """Shares of half-zeros: the cell's width times the density is the probability of a zero."""
    values = COLUMNS["rain"][0]
    form, _ = find_form("rain", values)
    encoded = form.encode(values) + form.widths(values) * RNG.uniform(size=N)
    in_cell = (encoded >= 0) & (encoded < form.atom_width)
    assert in_cell.sum() == (values == 0).sum()
    np.testing.assert_allclose(encoded[values > 0] - form.atom_width, values[values > 0])
    assert form.support == (form.atom_width, None)
    assert form.edges(encoded) == (0.0, form.atom_width)


# -- cells that don't belong ----------------------------------------------------------------------

ERRORS = {
    "one million": [1e6],
    "a code": [-999.0],
    "a few": [-999.0, -999.0, -999.0],
    "on both sides": [1e6, -9999.0],
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("kind", ["normal", "heights", "counts", "cents"])
def test_errors_are_named_and_decide_on_nothing(name, kind):
    good = np.asarray(COLUMNS[kind][0], float)
    form, notes = find_form("x", RNG.permutation(np.append(good, ERRORS[name])))
    plain, _ = find_form("x", good)
    assert form.to_dict() | {"usual": None} == plain.to_dict() | {"usual": None}
    assert form.is_usual(good).all() and not form.is_usual(np.array(ERRORS[name])).any()
    (note,) = notes
    assert "data.outliers=keep" in note
    for value in set(ERRORS[name]):
        assert f"{value:g}" in note


def test_errors_that_are_kept_are_named_too():
    form, (note,) = find_form("x", np.append(COLUMNS["normal"][0], 1e6), keep=True)
    assert form.usual == (None, None) and "1e+06" in note and "They are kept" in note


def test_a_code_that_many_cells_hold_is_a_value_of_its_own():
    values = np.append(RNG.normal(50, 10, N).round(1), [-999.0] * 40)
    form, (note,) = find_form("x", values)
    assert form.atoms == (-999.0,) and form.usual == (None, None)
    assert "9% of the training cells are -999" in note


def test_few_rows_are_never_called_errors():
    assert find_form("x", np.append(RNG.normal(size=15), 1e6))[0].usual == (None, None)


# -- tables ---------------------------------------------------------------------------------------


def test_categories_are_whole_cells_with_texts():
    train = np.array([[0.0, 1.5], [2.0, 2.5], [1.0, 4.25], [2.0, 3.125]])
    forms, _ = find_forms(train, ("kind", "x"), {"kind": ("a", "b", "c")})
    lower, widths = encode(forms, train)
    np.testing.assert_array_equal(widths[:, 0], 1)
    np.testing.assert_array_equal(decode(forms, lower + 0.7 * widths), train)
    assert forms[0].kind == "category"
    np.testing.assert_array_equal(forms[0].decode([-5.0, 9.0]), [0, 2])
    assert forms[0].texts_of(np.array([2.0, 0.0])).tolist() == ["c", "a"]
    assert forms[0].edges(lower[:, 0]) == (-0.5, 0.5, 1.5, 2.5)
    assert "3 categories: a, b, c" in forms[0].describe()


def save(tmp_path, **columns):
    np.savez(tmp_path / "table.npz", **{k: np.asarray(v, float) for k, v in columns.items()})
    values = np.stack([np.asarray(v, float) for v in columns.values()], axis=1)
    np.save(tmp_path / "table.npy", values)
    return tmp_path / "table.npy"


def test_a_sample_without_an_inverse_has_no_cells():
    """It is NaN, as of a category or of one of a few values."""
    category = ColumnForm.of_categories("x", ("a", "b"))
    few = ColumnForm("x", step=1.0, levels=(0.0, 5.0, 7.0))
    for form in (category, few):
        values = form.decode([1.0, np.nan])
        assert np.isfinite(values[0]) and np.isnan(values[1])
    assert category.texts_of(np.array([1.0, np.nan])).tolist() == ["b", ""]


def test_rows_with_errors_are_left_out_of_all_parts_and_counted(tmp_path):
    bad = RNG.normal(size=200)
    bad[RNG.permutation(200)[:1]] = 1e6
    path = save(tmp_path, x=bad, y=RNG.normal(size=200))
    dataset = data.load("table", path=path)
    kept = data.load("table", path=path, outliers="keep")
    sizes = [len(d.training_rows()) + len(d.validation) + len(d.test) for d in (dataset, kept)]
    in_training = np.abs(kept.training_rows()).max() > 1e5
    assert sizes == [199 if in_training else 200, 200]
    assert np.all(usual_rows(dataset.forms, dataset.training_rows()))
    if in_training:
        assert "1e+06" in dataset.notes[0] and "1 of 160 training rows" in dataset.notes[1]


def test_a_part_that_errors_leave_less_than_two_rows_is_refused(tmp_path):
    values = np.append(RNG.normal(size=97), [1e6] * 3)
    path = save(tmp_path, x=values, y=RNG.normal(size=100))
    refused = 0
    for seed in range(300):
        parts = {"validation": 0.01, "test": 0.01, "split_seed": seed}
        try:
            dataset = data.load("table", path=path, **parts)
        except data.TableError as error:
            assert "of 2 test rows" in str(error) and "data.outliers=keep" in str(error)
            assert len(data.load("table", path=path, outliers="keep", **parts).test) == 2
            refused += 1
            if refused == 3:
                return
        else:
            assert len(dataset.test) == len(dataset.validation) == 2
    pytest.fail("no split had its errors in a part of two rows")


def test_noise_is_of_each_cell(tmp_path):
    path = save(tmp_path, rain=COLUMNS["rain"][0], halves=COLUMNS["halves"][0])
    dataset = data.load("table", path=path)
    rain = dataset.forms[0]
    batches = np.concatenate([dataset.train_batches(200, 1)(i) for i in range(50)])
    in_cell = batches[:, 0] < rain.atom_width
    assert 0.4 < in_cell.mean() < 0.6
    assert np.histogram(batches[in_cell, 0], 10, (0, 10))[0].min() > 0.07 * in_cell.sum()
    wet = np.unique(batches[~in_cell, 0])
    assert len(wet) <= (COLUMNS["rain"][0] > 0).sum(), "continuous cells have no noise"
    values = decode(dataset.forms, batches)
    original = np.stack([COLUMNS["rain"][0], COLUMNS["halves"][0]], axis=1)
    assert set(values[:, 1]) <= set(original[:, 1])
    for part in (dataset.validation, dataset.test):
        found = decode(dataset.forms, part)
        assert all(np.abs(original - row).sum(axis=1).min() < 1e-4 for row in found)
    np.testing.assert_allclose(batches.mean(axis=0), dataset.shift, rtol=0.05)
    np.testing.assert_allclose(batches.std(axis=0), dataset.scale, rtol=0.05)


def test_columns_may_be_taken_as_they_are(tmp_path):
    path = save(tmp_path, rain=COLUMNS["rain"][0], counts=COLUMNS["counts"][0])
    dataset = data.load("table", path=path, steps="none")
    assert [form.kind for form in dataset.forms] == ["continuous"] * 2
    np.testing.assert_array_equal(dataset.bin_width, 0)
    assert np.all(dataset.test[:, 1] == np.rint(dataset.test[:, 1]))


@pytest.mark.parametrize("option", ["steps", "outliers"])
def test_unknown_choices_are_refused(tmp_path, option):
    path = save(tmp_path, x=RNG.normal(size=50), y=RNG.normal(size=50))
    with pytest.raises(ValueError, match=f"{option} to be one of .*{option}='maybe'"):
        data.load("table", path=path, **{option: "maybe"})
