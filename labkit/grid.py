"""A grid of experiments: its cells, its table of signs, and the page that the observer's image makes of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from labkit import evidence, images, progress, settings
from labkit.cells import Seen
from labkit.outcome import LabBroken, say
from labkit.settings import OUT

SIGNS = {"works": "●", "breaks": "○", "differs": "‼", "broken": "✗", "unsupported": "–"}
BROKEN = "the lab broke: neither one nor the other"

Grid = dict[str, Any]  # what observer/page.py draws
Cell = dict[str, Any]


def cell(row: str, column: str, attempt: Callable[[], Seen], judge: Callable[[Seen], tuple[str, str, str]]) -> Cell:
    """Try something and return its cell. A lab that broke meanwhile breaks this cell and no other.

    `judge` returns the result (a key of SIGNS), a summary for the table, and the text behind it.
    """
    try:
        seen = attempt()
        result, summary, text = ("unsupported", "", seen.text) if seen.unsupported else judge(seen)
    except LabBroken as broken:
        seen = Seen()
        result, summary, text = "broken", "the lab broke", f"The lab broke: {broken}"
    say(f"{row} × {column}: {SIGNS[result]} {seen.seconds:.1f} s")
    return {
        "row": row, "column": column, "sign": SIGNS[result], "result": result, "summary": summary, "text": text,
        "ladder": seen.ladder,
    }  # fmt: skip


def of(result: str, cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells with this result."""
    return [one for one in cells if one["result"] == result]


def write(grid: Grid, name: str) -> Path:
    """Write the grid as JSON, HTML and Markdown into out/, and return the page's path. Raises LabBroken."""
    lab = settings.load()
    OUT.mkdir(exist_ok=True)
    data = OUT / f"{name}.json"
    data.write_text(json.dumps(grid, indent=1), encoding="utf-8")  # first: it took minutes to come to it
    evidence.own(data)
    images.ensure(lab)
    for form, suffix in (("html", ".html"), ("markdown", ".md")):
        done = subprocess.run(
            ["docker", "run", "--rm", "--interactive", "--network", "none", "--cap-drop", "ALL", "--read-only",
             f"sip-nat-lab/observer:{lab.values['LAB_TAG']}", "page", form],
            input=data.read_text(encoding="utf-8"), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise LabBroken(f"no page could be made of {data}: {progress.last_lines(done.stderr)}")
        page = OUT / f"{name}{suffix}"
        page.write_text(done.stdout, encoding="utf-8")
        evidence.own(page)
    return OUT / f"{name}.html"
