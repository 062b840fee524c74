"""The commands on models of images, and at temperatures of the user's choice."""

import numpy as np
import pytest

from tf_iresnet.layers import Rescale
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.training import commands
from tf_iresnet.training.workdir import RunError


def saved(path, *event_shape):
    flow = ResidualFlow([Rescale(2.0)])
    flow.build((None, *event_shape))
    flow.save(path)
    return str(path)


def test_samples_are_drawn_at_a_temperature(tmp_path):
    model, output = saved(tmp_path / "flow.keras", 2), tmp_path / "s.npz"
    spread = []
    for temperature in (0.0, 0.5, 1.0):
        commands.sample(str(output), model=model, num=50, overwrite=True, temperature=temperature)
        with np.load(output) as archive:
            spread.append(archive["samples"].std())
    assert spread[0] == 0 and spread[1] == pytest.approx(spread[2] / 2)


def test_samples_of_images_keep_their_shape(tmp_path):
    output = tmp_path / "s.npz"
    commands.sample(str(output), model=saved(tmp_path / "flow.keras", 4, 5, 3), num=7)
    with np.load(output) as archive:
        assert archive["samples"].shape == (7, 4, 5, 3)
        assert len(archive["columns"]) == 60


def test_a_model_of_images_is_not_measured_on_a_table(tmp_path):
    model = saved(tmp_path / "flow.keras", 4, 5, 3)
    (tmp_path / "my.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(RunError, match=r"a model of vectors.*of shape \(4, 5, 3\)"):
        commands.evaluate(
            model=model, table=str(tmp_path / "my.csv"), output=str(tmp_path / "e.json")
        )
