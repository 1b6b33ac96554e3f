"""The page that says what of which RFC is done names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "rfcs.md"


def named(page: str) -> list[str]:
    """Return the tests that a page names."""
    return re.findall(r"`(tests/[a-z0-9_/]+\.py::\w+)`", page)


def missing(tests: list[str]) -> list[str]:
    """Return those that do not exist."""
    found = []
    for test in tests:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8")) if (ROOT / path).exists() else ast.Module([], [])
        if not any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body):
            found.append(test)
    return found


def test_every_test_that_the_page_names_exists() -> None:
    assert missing(named(PAGE.read_text(encoding="utf-8"))) == []


def test_every_row_but_what_is_not_there_yet_names_a_test() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| [0-9]", line)]
    assert len(rows) > 25
    assert [row for row in rows if not named(row) and "not yet" not in row] == []


def test_a_test_that_does_not_exist_would_be_found() -> None:
    wrong = ["tests/unit/test_rfcs.py::test_nothing", "tests/unit/nowhere.py::test_x"]
    assert missing([*wrong, "tests/unit/test_rfcs.py::test_every_test_that_the_page_names_exists"]) == wrong
