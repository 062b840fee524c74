"""docs/faults.md names tests that there are."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]


def test_every_fault_has_a_test():
    text = (ROOT / "docs" / "faults.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| (?!fault|-)", line)]
    path, named = None, 0
    for row in rows:
        tests = re.findall(r"`([^`]*)::(test_\w+)`", row)
        assert tests or row.endswith("| the same |"), row
        for where, name in tests:
            path = path if where == "…" else where
            tree = ast.parse((ROOT / path).read_text())
            assert name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, row
            named += 1
    assert len(rows) > 20 and named >= len(rows)
