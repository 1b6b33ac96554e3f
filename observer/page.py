"""The page of a grid: what happened in every cell, and behind each the ladder. Markdown, or HTML by itself.

A grid is JSON on standard input:

    {"title", "intro": [paragraph...], "legend": [[sign, words]...], "corner": words,
     "columns": [name...], "rows": [name...], "ladders": whether Markdown has them too,
     "cells": [{"row", "column", "sign", "result", "summary", "text", "ladder"}...]}

`result` is a word for the style sheet: works, breaks, differs, broken or unsupported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

ASCII = str.maketrans("─│▶◀✗·→", "-|><x.>")
TIME_COLUMN = 12  # characters of a ladder's line, of which one that only says what was changed has none
TEMPLATES = Path(__file__).with_name("templates")
FORMS = {"html": "grid.html", "markdown": "grid.md"}


def render(grid: dict[str, object], form: str) -> str:
    """Return the page. Whatever a message contains is text in it. Raises KeyError for a form that is not known."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=form == "html", undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["brief"] = brief
    cells = {(cell["row"], cell["column"]): cell for cell in grid["cells"]}  # type: ignore[attr-defined]
    page: str = environment.get_template(FORMS[form]).render(grid=grid, cells=cells)
    return page


def brief(ladder: str) -> str:
    """Return a ladder in ASCII, without the lines that say what was changed in a message: the other page has all.

    So that a page with a hundred of them is half a megabyte no more, from which on some readers show it as a file.
    """
    lines = [line.rstrip() for line in ladder.splitlines() if line[:TIME_COLUMN].strip()]
    return "\n".join(lines).translate(ASCII)


def main(arguments: Sequence[str]) -> int:
    """`html` or `markdown`: read a grid, print its page."""
    print(render(json.load(sys.stdin), arguments[0]), end="")
    return 0
