"""What was measured is told as it was, and what was not is said."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from labkit.bench import goals, page, report
from labkit.bench.goals import ENOUGH, MET, MISSED, UNKNOWN, Goal
from labkit.bench.load import Result
from labkit.bench.rounds import Figures
from labkit.bench.search import NO_HIGHER
from labkit.bench.work import KAMAILIO, OTHER, OURS, RTPENGINE, SIPPY, WORKS


def result_of(cpu_us: float, **more: Any) -> Result:
    given: dict[str, Any] = {"failed": 0, "retransmissions": 0, "seconds": 10.0, "p99_ms": 4.0, **more}
    return Result(calls=100, rate=10, successful=100, cpu_us=100 * cpu_us, **given)


def figures(*cpu_us: float, later: float = 0.0, **more: Any) -> Figures:
    return Figures(10, [result_of(each, **more) for each in cpu_us], later_us=later, memory_before=1 << 20)


@pytest.fixture
def measured() -> dict[str, Any]:
    """A result with one kind of work."""
    machine = {"processor": "a processor", "processors": 2, "architecture": "x86_64", "kernel": "6.1",
               "memory_bytes": 4 << 30, "docker": "26.1"}  # fmt: skip
    run = {"command": "./lab bench", "began": "2026-01-01T00:00:00Z", "seconds": 60, "rounds": 3, "seconds_a_round": 10,
           "load_average": 0.1, "quick": False, "machine": machine, "versions": {"Kamailio": "6.0.1"},
           "not_measured": ["call-tcp: not asked for (--work)"]}  # fmt: skip
    entry = report.entry(WORKS["call"], {OURS: figures(300, 330, 280, later=20), KAMAILIO: figures(200, 210, 190)})
    return {"run": run, "call": entry, "relay": {OURS: {"unsupported": "unsupported: it has no such thing"}}}


def test_the_figure_is_the_median_and_has_what_came_later_in_it(measured: dict[str, Any]) -> None:
    ours = measured["call"][OURS]
    assert (ours["cpu_us"], ours["cpu_us_spread"], ours["cpu_us_later"]) == (320.0, [300.0, 350.0], 20.0)
    assert measured["call"]["ratio_cpu"] == 1.6


def test_the_data_is_json(measured: dict[str, Any]) -> None:
    assert json.loads(json.dumps(measured)) == measured


def test_the_table_has_every_system_and_says_what_is_unsupported(measured: dict[str, Any]) -> None:
    text = report.text(measured)
    assert "call   ours      320     300 – 350" in text
    assert "unsupported: it has no such thing" in text
    assert "call: ours to kamailio: CPU 1.60×" in text
    assert "not measured: call-tcp: not asked for (--work)" in text
    assert all(len(row) == len(report.HEAD) for row in report.table(measured))


def test_sippys_place_is_explained(measured: dict[str, Any]) -> None:
    assert "B2BUA" not in report.text(measured)
    entry = report.entry(WORKS["call"], {SIPPY: figures(5000)})
    assert "Sippy is a B2BUA" in report.text({**measured, "call": entry})


def test_a_round_that_was_not_clean_shows_in_the_table(measured: dict[str, Any]) -> None:
    entry = report.entry(WORKS["call"], {OURS: figures(300, retransmissions=7)})
    assert "7 retransmissions" in report.text({**measured, "call": entry})


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({}, ""),
        ({"failed": 2}, "2 of 100 failed"),
        ({"failed": 2, "complaint": "Unexpected 503"}, "2 of 100 failed: Unexpected 503"),
        ({"retransmissions": 1}, "1 retransmissions"),
        ({"seconds": 13.0}, "SIPp did not keep its rate: 100 calls took 13.0 s"),
        ({"max_ms": 501.0}, "an answer took 501 ms: a message was lost on its way"),
    ],
)
def test_a_clean_run_is_one_without_a_fault(more: dict[str, Any], fault: str) -> None:
    assert result_of(1, **more).fault() == fault


def test_calls_that_did_not_end_are_a_fault() -> None:
    short = result_of(1)
    short.successful = 90
    assert short.fault() == "90 of 100 calls done in 10 s"


@pytest.mark.parametrize(
    ("value", "is_more_better", "verdict"),
    [(0.9, False, MET), (1.0, False, MET), (1.4, False, ENOUGH), (1.6, False, MISSED), (None, False, UNKNOWN),
     (2.5, True, MET), (2.0, True, ENOUGH), (0.4, True, MISSED)],
)  # fmt: skip
def test_a_goal_is_met_or_enough_or_missed(value: float | None, is_more_better: bool, verdict: str) -> None:
    wanted, least = (2.1, 0.5) if is_more_better else (1.0, 1.5)
    assert Goal("what", ("x",), wanted, least, "×", is_more_better).verdict(value) == verdict


def test_the_goals_are_judged_by_what_was_measured(measured: dict[str, Any]) -> None:
    rows = {row[0]: row for row in goals.rows(measured)}
    assert rows["call by UDP: CPU, of Kamailio's"][1:] == ("1.6 ×", "≤ 1 ×", "≤ 1.5 ×", MISSED)
    assert {row[4] for what, row in rows.items() if "UDP: CPU" not in what} == {UNKNOWN}


def test_every_goal_names_a_kind_of_work_or_the_engine() -> None:
    assert {goal.path[0] for goal in goals.GOALS} <= {*WORKS, "engine", "workers"}


def test_the_page_says_who_wins(measured: dict[str, Any]) -> None:
    text = page.markdown(measured)
    assert "- `call`, CPU: Kamailio wins (1.60 of Kamailio's)" in text
    better = copy.deepcopy(measured)
    better["call"]["ratio_cpu"] = 0.9
    assert "- `call`, CPU: we win (0.90 of Kamailio's)" in page.markdown(better)
    better["call"][KAMAILIO] |= {"max_rate": 500, "max_rate_why": "3 of 9 failed: Dead call\r\n\r\nmore"}
    assert "- `call`, kamailio: above 500/s 3 of 9 failed: Dead call\n" in page.markdown(better)
    for word in ("a processor", "Kamailio 6.0.1", "`./lab bench`", "not asked for (--work)"):
        assert word in text


def test_the_rows_of_the_pages_tables_have_as_many_cells_as_their_heads(measured: dict[str, Any]) -> None:
    blocks = [block.splitlines() for block in page.markdown(measured).split("\n\n") if block.startswith("|")]
    assert len(blocks) == 2
    for block in blocks:
        assert len({line.count("|") for line in block}) == 1


def test_the_plots_show_what_was_measured_of_calls_and_of_bindings(measured: dict[str, Any]) -> None:
    point = {"rate": 100, "cpu_us": 300.0, "p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": None, "fault": ""}
    measured["call"][OURS]["curve"] = [point]
    measured["call-loaded"] = {OURS: {"memory_over_bindings": [[500, 3 << 20]]}, "ratio_empty": 1.0}
    cpu, latency, memory = page.series(measured)
    assert cpu["lines"] == {OURS: [(100, 300.0)]}
    assert latency["lines"] == {"ours p50": [(100, 1.0)], "ours p95": [(100, 2.0)], "ours p99": []}
    assert memory["lines"] == {OURS: [(500, 3.0)]}


def test_another_image_of_ours_is_compared_round_by_round() -> None:
    entry = report.entry(WORKS["call"], {OURS: figures(300, 440, 270), OTHER: figures(300, 400, 300)})
    assert (entry["ratio_other"], entry["ratio_other_spread"]) == (1.0, [0.9, 1.1])
    text = report.text({"run": {"quick": True, "not_measured": []}, "call": entry})
    assert "call: ours to the other image: CPU 1.00× (0.90 to 1.10)" in text
    assert "call  other" in text


def test_media_is_compared_with_rtpengine() -> None:
    entry = report.entry(WORKS["relay"], {OURS: figures(9, 8, 10), RTPENGINE: figures(10, 9, 11)})
    assert entry["ratio_cpu"] == pytest.approx(0.9)
    assert report.ratios({"relay": entry}) == ["relay: ours to rtpengine: CPU 0.90×"]
    for system in (OURS, RTPENGINE):
        entry[system] |= {"max_rate": 20_000, "max_rate_why": NO_HIGHER}
    assert "ratio_rate" not in report.compared(entry)  # whose limit nobody has seen is not compared
    entry[OURS]["max_rate_why"] = entry[RTPENGINE]["max_rate_why"] = "3 of 9 failed"
    assert report.compared(entry)["ratio_rate"] == 1.0
    assert "leaves media" in entry[KAMAILIO]["unsupported"]
