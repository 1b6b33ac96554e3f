"""The page of a grid: every cell once, with its reason behind it, and nothing that a message contains is markup."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from jinja2 import UndefinedError

from observer.page import brief, render

GRID: dict[str, Any] = {
    "title": "What each remedy is for", "intro": ["One run."], "corner": "without", "ladders": True,
    "legend": [["●", "works"], ["○", "breaks"]], "rows": ["rport", "contact"], "columns": ["home", "none"],
    "cells": [
        {"row": "rport", "column": "home", "sign": "○", "result": "breaks", "summary": "answers are lost",
         "text": "100 goes to <b>nowhere</b> | :5060.", "ladder": "alice ──▶ <sip:bob@198.51.100.10>"},
        {"row": "rport", "column": "none", "sign": "●", "result": "works", "summary": "works", "text": "Fine.",
         "ladder": "  │"},
        {"row": "contact", "column": "none", "sign": "●", "result": "works", "summary": "works", "text": "Fine.",
         "ladder": "  │"},
    ],
}  # fmt: skip


def test_what_a_message_contains_is_text_on_the_page() -> None:
    page = render(GRID, "html")
    assert "&lt;sip:bob@198.51.100.10&gt;" in page
    assert "<sip:bob" not in page
    assert "<b>nowhere" not in page


def test_the_page_is_whole_by_itself() -> None:
    page = render(GRID, "html")
    assert "http" not in page
    assert "src=" not in page
    assert "<link" not in page


def test_every_cell_leads_to_what_is_behind_it() -> None:
    page = render(GRID, "html")
    for cell in GRID["cells"]:
        name = f"{cell['row']}-{cell['column']}"
        assert page.count(f'href="#{name}"') == 1
        assert page.count(f'id="{name}"') == 1
    assert page.count("<td></td>") == 1  # contact × home was not run


def test_the_table_is_one() -> None:
    page = render(GRID, "html")
    table = ElementTree.fromstring(page[page.index("<table>") : page.index("</table>") + len("</table>")])
    assert [len(row) for row in table.iter("tr")] == [3, 3, 3]


def test_the_markdown_has_a_row_for_each_remedy_and_a_line_for_each_cell() -> None:
    lines = render(GRID, "markdown").splitlines()
    assert "| without | home | none |" in lines
    assert "|---|:-:|:-:|" in lines
    assert "| **rport** | ○ | ● |" in lines
    assert "| **contact** |  | ● |" in lines
    assert "- **home** ○ 100 goes to &lt;b>nowhere&lt;/b> | :5060." in lines
    assert "● works · ○ breaks" in lines


def test_the_markdown_has_the_arrows_of_every_ladder_behind_its_cell() -> None:
    page = render(GRID, "markdown")
    assert page.count("<details>") == page.count("</details>") == len(GRID["cells"])
    assert "\n  alice --> <sip:bob@198.51.100.10>\n" in page  # text, for it stands in a block of code


def test_the_markdown_has_no_ladders_where_they_would_be_too_many() -> None:
    assert "<details>" not in render({**GRID, "ladders": False}, "markdown")
    assert render({**GRID, "ladders": False}, "html").count("<details") == len(GRID["cells"])


def test_of_a_ladder_the_arrows_are_kept_and_what_was_changed_is_not() -> None:
    ladder = ("           alice", "   0.0001  │── INVITE ──▶│   ", "               nat: source", "           ✗ dropped")
    assert brief("\n".join(ladder)) == "           alice\n   0.0001  |-- INVITE -->|\n           x dropped"


def test_a_cell_that_lacks_something_is_no_page() -> None:
    broken = copy.deepcopy(GRID)
    del broken["cells"][0]["ladder"]
    with pytest.raises(UndefinedError):
        render(broken, "html")
    with pytest.raises(KeyError):
        render(GRID, "pdf")
