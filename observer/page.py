"""The page of a grid: what happened in every cell, and behind each the ladder. Markdown, or HTML by itself.

A grid is JSON on standard input:

    {"title", "intro": [paragraph...], "legend": [[sign, words]...], "corner": words,
     "columns": [name...], "rows": [name...],
     "cells": [{"row", "column", "sign", "result", "summary", "text", "ladder"}...]}

`result` is a word for the style sheet: works, breaks, differs or unsupported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).with_name("templates")
FORMS = {"html": "grid.html", "markdown": "grid.md"}


def render(grid: dict[str, object], form: str) -> str:
    """Return the page. Whatever a message contains is text in it. Raises KeyError for a form that is not known."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=form == "html", undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    cells = {(cell["row"], cell["column"]): cell for cell in grid["cells"]}  # type: ignore[attr-defined]
    page: str = environment.get_template(FORMS[form]).render(grid=grid, cells=cells)
    return page


def main(arguments: Sequence[str]) -> int:
    """`html` or `markdown`: read a grid, print its page."""
    print(render(json.load(sys.stdin), arguments[0]), end="")
    return 0
