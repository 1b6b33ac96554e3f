"""/metrics: every count is explained, and a scraper can read the page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.metrics import COUNTERS, GAUGES, render

PROXY = Path(__file__).parents[2] / "proxy"

# https://prometheus.io/docs/instrumenting/exposition_formats: comment lines, and NAME VALUE
NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def counted(source: str) -> Iterator[str]:
    """Yield the names that a source counts under: `counts["name"]`, `_drop("name", ...)`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Subscript(value=ast.Attribute(attr="counts"), slice=ast.Constant(value=str(name))):
                yield name
            case ast.Call(func=ast.Attribute(attr="_drop"), args=[ast.Constant(value=str(name)), *_]):
                yield name


def samples(page: str) -> dict[str, tuple[str, str, float]]:
    """Return kind, explanation and value of each metric. Raises AssertionError on what is not Prometheus' format."""
    assert page.endswith("\n")
    lines = page.removesuffix("\n").split("\n")
    assert len(lines) % 3 == 0
    found = {}
    for about, kind, sample in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        name, value = sample.split(" ")
        assert NAME.fullmatch(name)
        assert name not in found
        assert about.startswith(f"# HELP {name} ")
        assert kind in {f"# TYPE {name} counter", f"# TYPE {name} gauge"}
        text = about.removeprefix(f"# HELP {name} ")
        assert text.strip()
        assert "\\" not in text  # would have to be escaped
        found[name] = (kind.rsplit(" ", 1)[1], text, float(value))
    return found


SOURCES = sorted(PROXY.rglob("*.py"))


def test_the_walk_finds_what_is_counted() -> None:
    names = {name for path in SOURCES for name in counted(path.read_text(encoding="utf-8"))}
    assert {"requests", "internal-errors", "not-sip", "stray-response"} <= names
    source = "self.counts['a'] += 1\nself._drop('b', flow, 'why')\nx = other['c']\n_drop('d')"
    assert list(counted(source)) == ["a", "b"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PROXY).as_posix())
def test_every_count_is_explained(path: Path) -> None:
    assert set(counted(path.read_text(encoding="utf-8"))) <= set(COUNTERS)


def test_no_metric_is_both_a_counter_and_a_gauge() -> None:
    assert not set(COUNTERS) & set(GAUGES)


def test_the_page_is_readable_by_a_scraper_and_has_every_metric() -> None:
    found = samples(render({"requests": 3, "journal-durable": True, "start-time-seconds": 1_790_000_123}))
    assert len(found) == len(COUNTERS) + len(GAUGES)
    assert found["sip_proxy_requests_total"] == ("counter", "requests received", 3)
    assert found["sip_proxy_journal_durable"][::2] == ("gauge", 1)
    assert found["sip_proxy_bad_response_total"][2] == 0, "what nobody counted is there, and 0"
    assert all(name.endswith("_total") == (kind == "counter") for name, (kind, _, _) in found.items())


@pytest.mark.parametrize("value", [1_234_567_890, 123_456_789_012, 1_790_000_123.25])
def test_large_numbers_are_not_rounded_away(value: float) -> None:
    """A counter that stands still between two scrapes is a rate of 0."""
    assert samples(render({"requests": value}))["sip_proxy_requests_total"][2] == value


@pytest.mark.parametrize("page", ["x 1\n", "# HELP x y\n# TYPE x counter\nx 1", "# HELP x y\n# TYPE y gauge\nx 1\n"])
def test_the_reader_of_these_tests_is_not_a_friend(page: str) -> None:
    with pytest.raises(AssertionError):
        samples(page)


def test_a_name_that_is_not_explained_is_an_error() -> None:
    with pytest.raises(KeyError, match="surprise"):
        render({"requests": 1, "surprise": 2})
