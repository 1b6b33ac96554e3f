"""The schema says what a view is, and its page is made of it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from docs import view as page
from observer.view import schema
from tests.unit.observer.view.views import drawn


def test_the_page_of_the_schema_is_what_the_script_makes() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == schema.document(), "python -m docs.view"


def test_a_view_is_the_same_after_it_was_json() -> None:
    view = drawn()
    assert json.loads(json.dumps(view)) == view


@pytest.mark.parametrize(
    ("place", "wrong"),
    [(("version",), "1"), (("calls", 0, "state"), "sleeping"), (("calls", 0, "arrows", 0, "time"), "now"),
     (("lanes",), {}), (("calls", 0, "arrows", 0, "copy"), True)],
)  # fmt: skip
def test_what_is_of_another_type_is_a_breach(place: tuple[Any, ...], wrong: Any) -> None:
    view: Any = copy.deepcopy(drawn())
    inner = view
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = wrong
    found = list(schema.breaches(view))
    assert len(found) == 1
    assert str(place[-1]) in found[0]


def test_a_field_that_is_missing_is_a_breach() -> None:
    view: Any = copy.deepcopy(drawn())
    del view["calls"][0]["nat"]
    assert list(schema.breaches(view)) == ["view.calls[0]: has not the fields of Call"]


def test_every_field_has_a_meaning() -> None:
    assert all(meaning for table in schema.TABLES for _, meaning in schema.fields(table).values())
