"""A message that costs more than is kept is a failure that names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labkit.bench import instructions
from labkit.bench.systems import Images
from labkit.outcome import Exit, Mistake

IMAGES = Images("proxy", "phone", "peers", "pypy3")
KEPT = {"INVITE": 100_000, "ACK": 40_000}


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What valgrind would count, to be changed; KEPT is kept for this machine."""
    numbers = dict(KEPT)
    kept = tmp_path / "instructions.json"
    kept.write_text(json.dumps({"riscv": {"python": "3.13.5", "instructions": KEPT}}))
    found: dict[str, Any] = {"python": "3.13.5", "instructions": numbers}
    monkeypatch.setattr(instructions, "KEPT", kept)
    monkeypatch.setattr(instructions, "ROOT", tmp_path)
    monkeypatch.setattr(instructions, "count", lambda image: found)
    monkeypatch.setattr("platform.machine", lambda: "riscv")
    return numbers


def test_what_costs_the_same_or_less_passes(counted: dict[str, int]) -> None:
    counted["ACK"] = 1
    assert instructions.check(IMAGES, accept=False) == Exit.PASS


def test_a_little_more_passes(counted: dict[str, int]) -> None:
    counted["INVITE"] = 104_900
    assert instructions.check(IMAGES, accept=False) == Exit.PASS


def test_more_than_that_fails_and_says_which_from_what_to_what(
    counted: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    counted["INVITE"] = 105_100
    assert instructions.check(IMAGES, accept=False) == Exit.FAIL
    said = capsys.readouterr()
    assert "lab: INVITE: +5.1 %, from 100000 to 105100 instructions\n" in said.err
    assert "ACK:" not in said.err


def test_a_message_that_is_new_or_missing_fails(counted: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    counted["PRACK"] = counted.pop("ACK")
    assert instructions.check(IMAGES, accept=False) == Exit.FAIL
    said = capsys.readouterr().err
    assert "PRACK: 40000 instructions, and none are kept" in said
    assert "ACK: is kept, and was not counted" in said


def test_what_is_accepted_is_kept_and_other_processors_numbers_stay(counted: dict[str, int]) -> None:
    before = json.loads(instructions.KEPT.read_text())
    instructions.KEPT.write_text(json.dumps({"m68k": before["riscv"], **before}))
    counted["INVITE"] = 200_000
    assert instructions.check(IMAGES, accept=True) == Exit.PASS
    assert instructions.check(IMAGES, accept=False) == Exit.PASS
    kept = json.loads(instructions.KEPT.read_text())
    assert kept["riscv"]["instructions"] == {"INVITE": 200_000, "ACK": 40_000}
    assert kept["m68k"] == before["riscv"]


@pytest.mark.usefixtures("counted")
def test_where_nothing_is_kept_nothing_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    with pytest.raises(Mistake, match=r"no numbers are kept for pdp11: .* --accept"):
        instructions.check(IMAGES, accept=False)


def test_another_python_is_named(counted: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    kept = json.loads(instructions.KEPT.read_text())
    kept["riscv"]["python"] = "3.13.4"
    instructions.KEPT.write_text(json.dumps(kept))
    instructions.check(IMAGES, accept=False)
    assert "counted with Python 3.13.4, this is 3.13.5" in capsys.readouterr().err
