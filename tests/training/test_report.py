"""The figures are told with units and errors, and the page shows text as text."""

import dataclasses
import html.parser
import re

import pytest

from tf_iresnet.training import report
from tf_iresnet.training.pictures import Picture
from tf_iresnet.training.table_fit import ColumnFit, CorrelationFit
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


@dataclasses.dataclass
class FakeData:
    """What a page shows of a data set."""

    event_size: int = 64
    columns: tuple[str, ...] = ()
    description: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def page(figures=FIGURES, dataset=None, table=None, pictures=(), **sections):
    config = {"model": {}, "data": {"name": "digits"}} | sections
    training = {"parameters": 12345, "epochs": 7, "stopped": "all epochs were done"}
    figures = {"reproducible": True, **training, **figures}
    known = {"pictures": pictures, "certificate": "bounds", "run": Workdir("my runs")}
    known |= {"dataset": dataset or FakeData(), "table": table}
    return report.html(figures, config=config, minutes=1.25, **known)


class Tags(html.parser.HTMLParser):
    """Checks that elements are closed in order, and collects the texts inside of `details`."""

    EMPTY = ("meta", "img", "!doctype")

    def __init__(self, text):
        super().__init__()
        self.open, self.folded = [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "details" in self.open and "summary" not in self.open:
            self.folded += data


def section(columns):
    """Of a table whose later columns are fitted better."""
    fits = [ColumnFit(i, 1 / (2 + i), (0.0, 1.0, 2.0), (0.5, 1.5, 2.5)) for i in range(columns)]
    pairs = [CorrelationFit(0, 1, 0.75, -0.25)]
    return report.TableSection(fits, ["continuous"] * columns, ["log"] * columns, pairs, 0.1, "9")


def test_names_of_the_users_are_text_not_markup():
    html = page({**FIGURES, "data": "<script>alert(1)</script>"}, data={"name": "<b>.csv"})
    assert "<script>" not in html and "<b>" not in html
    assert "&lt;script&gt;" in html


def test_the_summary_tells_what_was_trained_how_long_and_whether_it_can_be_reproduced():
    assert "digits: a density that classifies</h1>" in page(model={"task": "hybrid"})
    summary = (
        "3 residual blocks with 12,345 parameters in all, of events of 64 dimensions. Trained for "
        "7 epochs in 1.2 minutes, until all epochs were done.</p>"
    )
    assert summary in page(model={"num_blocks": 3})
    monotone = page(model={"num_blocks": 3, "block": "monotone"}, dataset=FakeData(event_size=1))
    assert "3 monotone blocks" in monotone and "residual" not in monotone
    assert "of events of 1 dimension. Trained" in monotone
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


def test_the_page_begins_with_what_was_read_and_every_warning():
    notes = ("A cell of -999 was left out.", "Column <id> counts the rows.")
    text = page(dataset=FakeData(description=("my.csv: 9 rows", "2 columns"), notes=notes))
    Tags(text)
    places = [text.index(part) for part in ("my.csv: 9 rows", "A cell of -999", "&lt;id&gt;")]
    assert places == sorted(places) and places[-1] < text.index("<h2>Figures")
    assert "What was read" not in page()


@pytest.mark.parametrize("columns", [3, 40])
def test_columns_are_listed_the_worst_first_and_many_are_folded(columns):
    names = tuple(f"column {index}" for index in range(columns))
    text = page(dataset=FakeData(columns, names), table=section(columns))
    tags = Tags(text)
    rows = re.findall(r"<tr><th scope=.row.>(column \d+)</th>", text)
    assert rows == list(names)
    assert ("column 2" in tags.folded) == (columns == 40)
    assert "<strong>0.5</strong>" in text and "0, 1, 2" in text and "0.5, 1.5, 2.5" in text
    assert "column 0, column 1" in text and "0.750" in text and "-0.250" in text


def test_certificate_config_and_versions_are_folded_and_their_summary_is_not():
    pictures = [Picture(n, f"caption of {n}", b"") for n in ("marginals", "lipschitz")]
    text = page(pictures=pictures, model={"activation": "sine"})
    tags = Tags(text)
    for part in ("bounds", "caption of lipschitz", "sine", "tensorflow"):
        assert part in tags.folded
    assert "Certified invertible" not in tags.folded and "marginals" not in tags.folded
    assert text.index("caption of marginals") < text.index("Certified invertible")


def test_a_phone_shows_the_page_without_scrolling_it_sideways():
    """As a browser laid it out at 390 pixels: what may be wider scrolls for itself."""
    text = page(dataset=FakeData(3, ("a", "b", "c")), table=section(3))
    assert "width=device-width" in text and "img { max-width: 100%" in text
    assert len(re.findall("<table", text)) == len(re.findall('<div class="wide"><table', text)) > 3


@pytest.mark.parametrize(
    ("gaussian", "mixture", "text"),
    [
        (0.5, 0.5, "is better than a Gaussian and better than a mixture of Gaussians."),
        (-1.0, 0.1, "is worse than a Gaussian and not clearly different from a mixture"),
        (0.1, None, "is not clearly different from a Gaussian."),
    ],
)
def test_the_verdict_on_other_densities_counts_what_is_beyond_their_standard_errors(
    gaussian, mixture, text
):
    found = {"gaussian_difference": gaussian, "gaussian_difference_standard_error": 0.2}
    if mixture is not None:
        found |= {"mixture_difference": mixture, "mixture_difference_standard_error": 0.2}
        found["mixture_components"] = 3
    assert text in page({**FIGURES, **found})
    assert f"better than a Gaussian by {gaussian:>10.4f} ± 0.2000 nats".split() == (
        re.search("better than a Gaussian by .* nats(?=  log)", report.text(FIGURES | found))
        .group()
        .split()
    )
    assert report.verdict(FIGURES) is None
    three = {**FIGURES, **found, "examples": 3}  # whose Student's factor is 4.3
    assert ("clearly different from a Gaussian" in report.verdict(three)) == (abs(gaussian) < 0.86)
