"""What is expected of every experiment is about remedies, kinds and causes that there are."""

from __future__ import annotations

import pytest

from labkit.cells import CAUSES
from labkit.expectations import ALL_ON, EXPECTATIONS, WORDS, in_words
from labkit.settings import REMEDIES
from nat.kinds import PRESETS

CELLS = [(remedy, kind) for remedy in EXPECTATIONS for kind in PRESETS]


def test_every_remedy_can_be_taken_away_and_one_row_takes_nothing() -> None:
    assert set(EXPECTATIONS) == {ALL_ON, *REMEDIES}


def test_every_kind_that_is_named_is_one() -> None:
    assert {kind for expected in EXPECTATIONS.values() for kind in expected.kinds} <= set(PRESETS)


@pytest.mark.parametrize(("remedy", "kind"), CELLS)
def test_what_must_happen_is_a_cause_that_the_judge_names_and_a_reader_understands(remedy: str, kind: str) -> None:
    causes = EXPECTATIONS[remedy].causes(kind)
    assert causes
    assert causes <= CAUSES
    assert causes <= set(WORDS)


def test_each_remedy_is_for_something_and_none_is_for_everything() -> None:
    for remedy in REMEDIES:
        outcomes = {"works" in EXPECTATIONS[remedy].causes(kind) for kind in PRESETS}
        assert outcomes == {True, False}, remedy


def test_causes_are_told_in_one_order() -> None:
    assert in_words({"expired", "request-lost-at-router"}) == (
        "a request for her finds no way through the router; the router has forgotten her mapping"
    )
    assert in_words(set()) == "nothing that was seen before"
