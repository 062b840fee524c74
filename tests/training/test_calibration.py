"""Intervals hold what they promise for a density that is right, and don't for another one."""

import keras
import numpy as np
import pytest

from tf_iresnet.data.columns import ColumnForm
from tf_iresnet.layers import Rescale
from tf_iresnet.models.bases import ConditionalNormal
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.training import calibration, plots, sampling

ROWS = 500
RNG = np.random.default_rng(0)
CONDITION = RNG.uniform(-3, 3, (ROWS, 1)).astype("float32")
NOISE = RNG.normal(size=(ROWS, 1)).astype("float32")
META = {**sampling.describe_unknown_data((1,)), "columns": ["y"]}
WHOLE = ColumnForm("y", step=1.0)


@pytest.fixture(scope="module")
def flow():
    """The normal distribution of mean c and deviation 1, given c."""
    base = ConditionalNormal(1, network=keras.layers.Dense(1, kernel_initializer="ones"))
    flow = ResidualFlow([Rescale(1.0)], base=base)
    flow.build((None, 1))
    base.head.kernel.assign([[1.0, 0.0]])
    return flow


def predicted(flow, spread, meta=META, points=None):
    points = CONDITION + spread * NOISE if points is None else points
    return calibration.predict(flow, points, CONDITION, meta)


def test_the_right_density_is_calibrated(flow):
    predictions = predicted(flow, spread=1.0)
    figures = calibration.figures(predictions, ["y"])
    assert figures["predicted_examples"] == ROWS
    for percent in (50, 90):
        share = figures[f"coverage_{percent}"]
        error = figures[f"coverage_{percent}_standard_error"]
        assert error == pytest.approx(np.sqrt(percent * (100 - percent) / ROWS) / 100)
        assert abs(share - percent / 100) < 4 * error
        assert figures["calibration"]["y"][f"coverage_{percent}"] == share
    assert figures["calibration"]["y"]["pit_distance"] < 1.63 / np.sqrt(ROWS)  # 1 of 100 is above


@pytest.mark.parametrize(("spread", "share"), [(2.0, 0.589), (0.5, 0.9990)])
def test_too_narrow_and_too_wide_densities_cover_what_a_normal_one_would(flow, spread, share):
    """Of a deviation s, within 1.645 of the mean: P(|z| < 1.645/s)."""
    figures = calibration.figures(predicted(flow, spread), ["y"])
    error = np.sqrt(share * (1 - share) / ROWS)
    assert abs(figures["coverage_90"] - share) < 4 * error + 0.01
    assert figures["calibration"]["y"]["pit_distance"] > 0.1


def test_columns_of_steps_are_calibrated_too(flow):
    """Rounded observations of a density whose samples are rounded in the same way."""
    meta = META | {"forms": [WHOLE.to_dict()]}
    whole = np.rint(CONDITION + NOISE)
    points = (WHOLE.encode(whole) + RNG.uniform(size=whole.shape)).astype("float32")
    predictions = predicted(flow, 1.0, meta, points)
    np.testing.assert_array_equal(predictions.observed, whole)
    assert np.all(predictions.samples == np.rint(predictions.samples))
    figures = calibration.figures(predictions, ["y"])
    assert abs(figures["coverage_90"] - 0.9) < 4 * figures["coverage_90_standard_error"]
    assert figures["calibration"]["y"]["pit_distance"] < 1.63 / np.sqrt(ROWS)


def test_the_picture_has_two_panels_for_each_column(flow):
    figure = calibration.figure(predicted(flow, 1.0), ["y"])
    assert len(figure.axes) == 2 and plots.png(figure).startswith(b"\x89PNG")
