"""The figures are told with units and errors, and the page shows text as text."""

import re

from tf_iresnet.training import report
from tf_iresnet.training.workdir import Workdir

FIGURES = {
    "data": "digits", "split": "test", "examples": 360, "levels": 17,
    "negative_log_likelihood": 90.12345, "negative_log_likelihood_standard_error": 0.75,
    "bits_per_dim": 2.03153, "bits_per_dim_standard_error": 0.0169,
    "truncation_bound": 1.5e-7, "reconstruction_error": 2.5e-5, "error_unit": "the data's units",
    "reconstructed_examples": 360,
    "sample_reconstruction_error": 3.5e-5, "inverse_iterations": 14, "inverse_converged": True,
    "lipschitz_bound": 0.91, "invertible": True,
}  # fmt: skip


def test_figures_are_told_with_their_units_and_standard_errors():
    text = report.text(FIGURES)
    assert "90.1235 ± 0.7500 nats" in text
    assert "2.0315 ± 0.0169 bits/dim" in text
    assert re.search(r"truncation bound +1\.5e-07 nats", text)
    assert re.search(r"iterations of the inverse +14", text)
    assert "KL" not in text, "what isn't known isn't told"


def test_bits_per_dim_are_told_of_discrete_data_only():
    assert "bits/dim" not in report.text({**FIGURES, "levels": None})
    assert "KL(data‖model)" in report.text(
        {**FIGURES, "kl_divergence": 0.02, "kl_divergence_standard_error": 0.001}
    )


def page(figures=FIGURES, **sections):
    config = {"model": {}, "data": {"name": "digits"}} | sections
    training = {"parameters": 12345, "epochs": 7, "stopped": "all epochs were done"}
    figures = {"reproducible": True, **training, **figures}
    known = {"pictures": [], "certificate": "bounds", "run": Workdir("my runs")}
    known = {"columns": [], "notes": (), **known}
    return report.html(figures, config=config, event_size=64, minutes=1.25, **known)


def test_names_of_the_users_are_text_not_markup():
    html = page({**FIGURES, "data": "<script>alert(1)</script>"}, data={"name": "<b>.csv"})
    assert "<script>" not in html and "<b>" not in html
    assert "&lt;script&gt;" in html


def test_the_summary_tells_what_was_trained_how_long_and_whether_it_can_be_reproduced():
    assert "digits: a flow that classifies</h1>" in page(model={"task": "hybrid"})
    summary = (
        "3 residual blocks with 12,345 parameters in all, of events of 64 dimensions. Trained for "
        "7 epochs in 1.2 minutes, until all epochs were done.</p>"
    )
    assert summary in page(model={"num_blocks": 3})
    limited = page({**FIGURES, "reproducible": False})
    assert "A network with" in limited and "so it is not bit-reproducible.</p>" in limited


def test_commands_can_be_pasted_and_samples_are_drawn_of_densities_only():
    html = page()
    assert "scripts/sample.py --workdir=&#39;my runs&#39; --num=1000 --output=samples.png" in html
    assert "load_model(&#39;my runs/model.keras&#39;)" in html
    assert "--output=samples.csv" in page(data={"name": "table"})
    assert "scripts/sample.py" not in page(model={"task": "classifier"})


def test_the_verdict_is_the_certificates():
    assert "Certified invertible" in page()
    doubtful = page({**FIGURES, "invertible": False})
    assert "Certified invertible" not in doubtful and "Not certified" in doubtful


def test_versions_are_those_installed():
    import tensorflow as tf

    assert report.versions()["tensorflow"] == tf.__version__
