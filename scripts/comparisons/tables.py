"""Our flow of a table beside other densities, at equal CPU seconds on one core and the same rows.

Everything within the fit counts as time, the tracing of our graphs included; imports, reading and
evaluation don't. Validation rows choose (the best epoch, a bandwidth, among variants of ours), a
criterion on training rows the components of a mixture; test rows are for the last table alone.
"""

import importlib.util
import itertools
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from comparisons import pinned, table
from comparisons.configs import load_config
from comparisons.datasets import write_table
from comparisons.tables_data import SOURCES, Source, repeats
from comparisons.tables_variants import OURS, VARIANTS
from tf_iresnet.data.splits import random_split
from tf_iresnet.data.tables import load_table
from tf_iresnet.training.workdir import RunError

MINUTES = 1.0
FILES = {"test": "table.csv", "validation": "variants.csv"}
PEERS = ("nsf", "maf", "residual", "mixture", "kde", "gaussian")
PACKAGES = {"nsf": "zuko", "maf": "zuko", "residual": "normflows"}  # of the others: sklearn
TRUTH = "truth"
LOG_PROB = table.Column("ln p, nats", "{log_prob:.3f} ± {error:.3f}", ("log_prob", "error"))
DIFFERENCE = table.Column(
    "above ours, nats",
    "{difference:+.3f} ± {difference_error:.3f}",
    ("difference", "difference_error"),
)
COLUMNS = (
    table.Column("method", "{method}", ("method",)),
    LOG_PROB,
    DIFFERENCE,
    table.Column("beyond 2 s.e.", "{verdict}", ("verdict",)),
    table.Column("CPU s", "{cpu_seconds:.1f}", ("cpu_seconds",)),
    table.Column("chosen", "{chosen}", ("chosen",)),
)
WRITTEN = (table.Column("table", "{table}", ("table",)), table.Column("", "", ("rows", "part")))


def compare(
    workdir: str | os.PathLike[str],
    minutes: float = MINUTES,
    jobs: int = 1,
    only: Sequence[str] = (),
    sources: Mapping[str, Source] = SOURCES,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Fits what isn't fitted yet, prints a table per data set and all of them as Markdown.

    Tables of few rows are compared on several random splits.

    Args:
        workdir: directory of the comparison; what is finished there isn't fitted again.
        minutes: CPU time of each fit.
        jobs: fits side by side, each on a core of its own.
        only: names of tables and methods to restrict it to: peers, "ours", single `VARIANTS` of
            ours, or "variants" for all of them, which are left out unless they are named.
        sources: name → table.
        changes: section of the config → fields to change in every run of ours.

    Returns:
        A row per table and method of what is printed; written to table.csv and variants.csv.
    """
    root = pathlib.Path(workdir)
    names, methods = _select(only, sources)
    _check_packages(methods)
    splits = {name: _write_splits(root, name, sources[name], changes) for name in names}
    runs = {
        (name, method): _runs(root, name, method, splits[name], minutes, changes)
        for name in names
        for method in methods
    }
    pinned.finish(itertools.chain(*runs.values()), jobs)
    rows = []
    for part, others in (("validation", VARIANTS), ("test", PEERS)):
        shown = [method for method in methods if method == OURS or method in others]
        if len(shown) > 1:
            found = []
            for name in names:
                fits = {method: runs[name, method] for method in shown}
                found += _figures(name, part, fits, splits[name], sources[name])
            path = table.write_csv(root / FILES[part], (*WRITTEN, *COLUMNS), found)
            print(f"\n{_markdown(found)}\n\nTable: {path}")
            rows += found
    return rows


def _select(only: Sequence[str], sources: Mapping[str, Source]) -> tuple[list[str], list[str]]:
    """The tables and the methods that the names stand for."""
    methods = [OURS, *PEERS, *VARIANTS]
    known = [*sources, *methods, "variants"]
    if unknown := [name for name in only if name not in known]:
        expected = f"Expected --only to name tables and methods: {', '.join(known)}."
        raise RunError(f"{expected} Received: {', '.join(unknown)}.")
    chosen = [m for m in methods if m in only or (m in VARIANTS and "variants" in only)]
    if chosen:
        chosen = [OURS, *(m for m in chosen if m != OURS)]  # what the others are compared with
    return [name for name in sources if name in only] or list(sources), chosen or [OURS, *PEERS]


def _check_packages(methods: Sequence[str]) -> None:
    """Raises a RunError, before anything is fitted, for a peer whose package isn't installed."""
    missing = {PACKAGES.get(method, "sklearn") for method in methods if method in PEERS}
    if missing := {name for name in missing if importlib.util.find_spec(name) is None}:
        raise RunError(
            f"Expected the packages of the peers. Received: none called {', '.join(missing)}. "
            "Install them: pip install tf_iresnet[bench]"
        )


def _write_splits(
    root: pathlib.Path,
    name: str,
    source: Source,
    changes: Mapping[str, Mapping[str, Any]] | None,
) -> list[pathlib.Path]:
    """Writes the table and its splits, as our pipeline splits it; returns the latter's paths."""
    write_table(root / f"{name}.csv", source.columns, source.rows)
    values = load_table(root / f"{name}.csv").values
    data = load_config("tabular", changes=changes).data
    paths = []
    for seed in range(repeats(len(values))):
        path = root / name / f"split_{seed}.npz"
        if not path.exists():
            numbers = random_split(len(values), data.validation, data.test, seed)
            parts = numbers.select(values.astype(np.float32))._asdict()
            parts |= {f"{part}_numbers": found for part, found in numbers._asdict().items()}
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"partial_{seed}.npz")
            np.savez(partial, **parts)
            os.replace(partial, path)
        paths.append(path)
    return paths


def _runs(
    root: pathlib.Path,
    name: str,
    method: str,
    splits: Sequence[pathlib.Path],
    minutes: float,
    changes: Mapping[str, Mapping[str, Any]] | None,
) -> list[pinned.Run]:
    """The fits of a method to a table, one per split."""
    runs = []
    for seed, rows in enumerate(splits):
        argument: dict[str, Any] = {"rows": str(rows)}
        if method in PEERS:
            known: dict[str, Any] = {"method": method, "seconds": 60 * minutes, "seed": seed}
            function, argument = "fit_peer", argument | known
        else:
            config = load_config("tabular", changes=changes)
            config.data.split_seed = config.training.seed = seed
            config.training.max_minutes = minutes
            config.data.outliers = "keep"  # every method has the same rows
            for field, value in VARIANTS.get(method, {}).items():
                section, _, key = field.partition(".")
                config[section].update({key: value})
            known = config.to_dict()
            config.data.path = str(root / f"{name}.csv")
            parts = ["validation"] if method in VARIANTS else ["validation", "test"]
            function, argument = "fit_ours", argument | {"config": config.to_dict(), "parts": parts}
        path = root / name / f"{method}_{pinned.digest(known)}_{seed}"
        runs.append(pinned.Run(path, f"comparisons.tables_fit:{function}", argument))
    return runs


def _figures(
    name: str,
    part: str,
    fits: Mapping[str, Sequence[pinned.Run]],
    splits: Sequence[pathlib.Path],
    source: Source,
) -> list[dict[str, Any]]:
    """Prints and returns a row per method, ours first, and one of the truth, if it is known."""
    numbers, points = [], []
    for path in splits:
        with np.load(path) as split:
            numbers.append(split[f"{part}_numbers"])
            points.append(split[part].astype(np.float64))
            total = sum(len(split[name]) for name in ("train", "validation", "test"))
    rows = []
    shared = {"table": name, "rows": total, "columns": len(source.columns), "part": part}
    values: dict[str, list[np.ndarray]] = {}
    for method, runs in fits.items():
        results = [json.loads(run.results.read_text()) for run in runs]
        values[method] = [np.array(result[part], np.float64) for result in results]
        seconds = float(np.mean([result["cpu_seconds"] for result in results]))
        rows.append(
            {"method": method, **shared, "cpu_seconds": seconds, "chosen": results[0]["chosen"]}
        )
    if source.log_prob is not None:
        values[TRUTH] = [source.log_prob(x) for x in points]
        rows.append({"method": TRUTH, **shared})
    for row in rows:
        found = values[row["method"]]
        row["log_prob"], row["error"] = mean_and_error(found, numbers)
        if row["method"] == OURS:
            continue
        differences = [a - b for a, b in zip(found, values[OURS], strict=True)]
        mean, error = mean_and_error(differences, numbers)
        row |= {"difference": mean, "difference_error": error, "verdict": verdict(mean, error)}
    known = "" if source.entropy is None else f", of entropy {source.entropy:.3f} nats"
    size = f"{total:,} rows, {len(source.columns)} columns{known}"
    print(f"\n{name}: {size}; {part} rows of {len(splits)} splits\n\n{table.text(COLUMNS, rows)}")
    return rows


def mean_and_error(
    values: Sequence[np.ndarray], numbers: Sequence[np.ndarray]
) -> tuple[float, float]:
    """Returns the mean over all splits, and its standard error.

    A row that lies in several splits counts once: the error is that of the rows' sums. What the
    splits share, a training each, makes them differ by more, so that the error of the mean of the
    splits' means is taken where it is larger.

    Args:
        values: of the rows of each split, `[n]`.
        numbers: of these rows in the table, `[n]`.
    """
    every, rows = np.concatenate(values), np.concatenate(numbers)
    mean = float(every.mean())
    if not math.isfinite(mean):
        return mean, math.nan
    sums, distinct = np.bincount(rows, every - mean), len(np.unique(rows))
    error = math.sqrt(np.sum(sums**2) * distinct / max(distinct - 1, 1)) / len(every)
    if len(values) > 1:
        means = np.array([value.mean() for value in values])
        error = max(error, float(means.std(ddof=1)) / math.sqrt(len(means)))
    return mean, error


def verdict(difference: float, error: float) -> str:
    """Returns whether a difference is beyond two of its standard errors: "above", "below" or ""."""
    if not math.isfinite(difference):
        return "above" if difference > 0 else "below"
    return "" if abs(difference) <= 2 * error else ("above" if difference > 0 else "below")


def _markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line per table, a column per method: ours, and how far above it the others are."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    marks = {"above": "**{}**", "below": "{}", "": "*{}*"}

    def cell(method: str) -> Callable[[Mapping[str, Any]], str]:
        def text(row: Mapping[str, Any]) -> str:
            if method == OURS:
                return f"{row['log_prob']:.3f} ± {row['error']:.3f}"
            figures = f"{row['difference']:+.3f} ± {row['difference_error']:.3f}"
            return marks[row["verdict"]].format(figures)

        return text

    lines = []
    for name in dict.fromkeys(row["table"] for row in rows):
        found = {row["method"]: row for row in rows if row["table"] == name}
        size = f"{found[OURS]['rows']:,} by {found[OURS]['columns']}"
        cells = [cell(m)(found[m]) if m in found else "" for m in methods]
        lines.append([name, size, *cells])
    text = table.markdown(["table", "rows by columns", *methods], lines)
    meaning = "Others: nats above ours; **bold** if more than two standard errors above, *italic* "
    return f"{text}\n\n{meaning}if within two."
