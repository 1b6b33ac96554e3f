"""The highest clean rate is found whatever it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from labkit.bench import search


def breaking_above(limit: int) -> Callable[[int], str]:
    return lambda rate: f"{rate - limit} failed calls" if rate > limit else ""


@pytest.mark.parametrize("limit", [20, 21, 137, 500, 1234, 9999])
@pytest.mark.parametrize("start", [1, 20, 700, 50_000])
def test_the_highest_is_found_from_below_and_from_above(limit: int, start: int) -> None:
    found = search.highest(breaking_above(limit), start, 20, 10_000)
    assert found.rate <= limit
    assert limit <= found.rate * search.RESOLUTION + 1
    assert "failed calls" in found.why
    assert len(found.trials) < 40


def test_what_is_clean_as_far_as_is_tried_is_said_to_be() -> None:
    found = search.highest(breaking_above(99_999), 500, 20, 10_000)
    assert (found.rate, found.why) == (10_000, "no higher rate was tried")


def test_what_is_never_clean_has_no_rate() -> None:
    found = search.highest(breaking_above(0), 500, 20, 10_000)
    assert (found.rate, found.why) == (0, "20 failed calls")


def test_a_rate_is_too_high_when_it_was_so_twice() -> None:
    said = iter(["a hiccup", "", "too many", "too many", *["too many"] * 100])
    found = search.highest(lambda rate: next(said), 100, 20, 150)
    assert found.trials[:4] == [(100, "a hiccup"), (100, ""), (150, "too many"), (150, "too many")]
    assert found.rate == 100
