"""A grid says of every cell what happened in it, and one that broke hides no other."""

from __future__ import annotations

import argparse

import pytest

from labkit import experiments, grid
from labkit.cells import Seen
from labkit.outcome import Exit, LabBroken, Mistake


def judged(seen: Seen) -> tuple[str, str, str]:
    return ("works" if "works" in seen.causes else "breaks"), ", ".join(sorted(seen.causes)), seen.text


def test_a_cell_is_what_was_seen(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Seen(["expired", "callee-never-rings"], ["one thing", "another"], ladder="│", seconds=1.5)
    cell = grid.cell("keepalive", "home", lambda: seen, judged)
    assert cell == {
        "row": "keepalive", "column": "home", "sign": "○", "result": "breaks", "summary": "expired",
        "text": "One thing; another.", "ladder": "│",
    }  # fmt: skip
    assert capsys.readouterr().err == "lab: keepalive × home: ○ 1.5 s\n"


def test_what_the_kernel_cannot_do_is_said_and_is_no_pass() -> None:
    cell = grid.cell("rport", "sip-alg", lambda: Seen(unsupported="this kernel has no SIP helper"), judged)
    assert (cell["result"], cell["text"]) == ("unsupported", "unsupported: this kernel has no SIP helper")
    assert grid.of("differs", [cell]) == []


def test_a_lab_that_broke_is_neither_one_nor_the_other() -> None:
    def broken() -> Seen:
        raise LabBroken("nat-kind: declared home, measured symmetric")

    cell = grid.cell("rport", "home", broken, judged)
    assert (cell["sign"], cell["result"]) == ("✗", "broken")
    assert grid.of("differs", [cell]) == []
    assert grid.of("broken", [cell]) == [cell]
    assert cell["text"] == "The lab broke: nat-kind: declared home, measured symmetric"


@pytest.mark.parametrize(
    ("results", "code"),
    [
        (["works", "unsupported"], Exit.PASS),
        (["unsupported", "unsupported"], Exit.UNSUPPORTED),
        (["differs", "broken"], Exit.FAIL),
        (["works", "broken"], Exit.BROKEN),
    ],
)
def test_a_grid_ends_as_its_cells_did_and_what_nobody_could_try_is_no_pass(
    results: list[str], code: Exit, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [{"result": result, "row": "rport", "column": "home", "text": "so"} for result in results]
    monkeypatch.setattr(experiments, "grid_of", lambda remedies, columns: {"cells": cells})
    monkeypatch.setattr(grid, "write", lambda found, name: "page")
    assert experiments.run(argparse.Namespace(homes=False, remedies="", nats="")) == code


def test_names_are_those_that_were_given_once_each_and_all_without_any() -> None:
    assert experiments.choose("--nats", "home, none,home", ["none", "home"]) == ["home", "none"]
    assert experiments.choose("--nats", "", ["none", "home"]) == ["none", "home"]
    with pytest.raises(Mistake, match=r"--nats hom: unknown; nearest: home"):
        experiments.choose("--nats", "hom,none", ["none", "home"])
