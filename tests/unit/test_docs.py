"""Pages that are generated are what their generators make."""

from __future__ import annotations

import re

import pytest

from docs import diagrams, grafana, nats
from labkit.nat import VERBS
from nat import kinds
from proxy.core import transaction
from proxy.core.transaction import TABLES, Times


def test_the_page_of_the_transactions_is_what_the_script_makes() -> None:
    assert diagrams.PAGE.read_text(encoding="utf-8") == diagrams.page(), "python -m docs.diagrams"


@pytest.mark.parametrize("name", TABLES)
def test_a_diagram_has_every_arrow_of_its_table_and_no_other(name: str) -> None:
    drawn = re.findall(r"^    ([a-z]+) --> ([a-z]+): (.+)$", diagrams.diagram(name), re.MULTILINE)
    listed = [(state, after) for state, row in TABLES[name].items() for after, _ in row.values()]
    assert [(state, after) for state, after, _ in drawn] == listed
    assert len({(state, cause.partition(" / ")[0]) for state, _, cause in drawn}) == len(listed)


def test_the_page_changes_with_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    before = diagrams.page()
    row = TABLES["INVITE client"][transaction.ACCEPTED]
    monkeypatch.setitem(row, transaction.PROVISIONAL, (transaction.ACCEPTED, (transaction.tell,)))
    assert diagrams.page() != before
    monkeypatch.setitem(row, transaction.PROVISIONAL, (transaction.ACCEPTED, (lambda it, now, message: None,)))
    with pytest.raises(KeyError):
        diagrams.page()


def test_the_values_are_those_of_the_timers() -> None:
    other = diagrams.timers(Times(t1=0.25, t2=2.0, t4=3.0, c=200.0))
    for row in ("| B | INVITE client: nobody answers | 64*T1 = 16 s |", "| T4 |", "| 3 s |", "200 s", "1.75 s"):
        assert row in other


def test_every_timer_of_the_diagrams_is_in_the_table() -> None:
    page = diagrams.page()
    used = set(re.findall(r"timer ([A-Z])\b", page)) | set(re.findall(r"start ([A-Z])\b", page))
    assert used == set("ABDEFGHIJKLM")
    assert used < set(re.findall(r"^\| ([A-Z]) \|", page, re.MULTILINE))


def test_the_dashboard_is_what_the_script_makes() -> None:
    assert grafana.PAGE.read_text(encoding="utf-8") == grafana.page(), "python -m docs.grafana"


def test_the_dashboard_asks_for_no_metric_that_the_proxy_has_not() -> None:
    assert grafana.question("{requests}") == "rate(sip_proxy_requests_total[$__rate_interval])"
    assert grafana.question("{bindings}") == "sip_proxy_bindings"
    with pytest.raises(KeyError):
        grafana.question("{calls}")


def test_the_page_of_the_kinds_is_what_the_script_makes() -> None:
    assert nats.PAGE.read_text(encoding="utf-8") == nats.page(), "python -m docs.nats"


def test_the_page_has_every_axis_kind_and_verb_in_a_row_of_its_own() -> None:
    rows = re.findall(r"^\| `([a-z-]+)", nats.page(), re.MULTILINE)
    assert rows == [*kinds.AXES, *kinds.PRESETS, *VERBS]


def test_the_page_changes_with_the_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    before = nats.page()
    monkeypatch.setitem(kinds.PRESETS["hairpin"].profile, "hairpin", "internal")
    assert "**hairpin internal**" in nats.page()
    assert nats.page() != before


def test_an_axis_without_words_is_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds.AXES, "colour", ("red", "blue"))
    with pytest.raises(KeyError):
        nats.page()


def test_every_row_has_as_many_cells_as_its_head() -> None:
    tables = re.findall(r"(?:^\|.*\n)+", nats.page(), re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
