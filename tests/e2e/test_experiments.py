"""What each remedy is for, as `./lab experiment` shows it; the grids; and a run that contradicts what is expected."""

from __future__ import annotations

import argparse
import re
import time
from dataclasses import replace

import pytest

from labkit import experiment, experiments, grid, homes
from labkit.expectations import EXPECTATIONS
from labkit.grid import SIGNS
from labkit.outcome import Exit
from nat import kinds
from tests.e2e.lab import ROOT, Command

pytestmark = pytest.mark.e2e

REMEDY_GRID_S, HOMES_GRID_S = 600, 1200


@pytest.mark.alone
def test_an_experiment_prints_what_happened_beside_what_should_have(command: Command) -> None:
    done = command.run("experiment", "rport", "--nat", "home")
    assert done.returncode == Exit.PASS, done.stdout + done.stderr
    happened = re.search(r"^  happened:  (.*)$", done.stdout, re.MULTILINE)
    assert happened
    wan = re.escape(command.environment["NAT_WAN_IP"])
    assert re.fullmatch(
        rf"100, 180 and 200 go to {wan}:5060, where the router has no mapping; "
        r"Alice repeats her INVITE after 0\.5, 1, 2 s and would give up after 32 s; "
        r"Bob repeats his 200 after 0\.5, 1, 2 s; Bob's phone rings, and Alice does not hear of it\.",
        happened[1],
    ), happened[1]
    assert done.stdout.endswith("as it should be\n")
    assert not command.traces()


@pytest.fixture
def own_lab(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """What is run in this process is run in the lab of `command`."""
    for name in list(command.environment):
        monkeypatch.setenv(name, command.environment[name])
    return command


@pytest.mark.long
def test_a_run_that_contradicts_what_is_expected_fails(
    own_lab: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The detector detects: it is told that answers find their way without `rport`."""
    real = EXPECTATIONS["rport"]
    monkeypatch.setitem(EXPECTATIONS, "rport", replace(real, otherwise=frozenset({"works"})))
    assert experiment.run(argparse.Namespace(remedy="rport", nat="home")) == Exit.FAIL
    assert "NOT as it should be: answers go to a port of the router" in capsys.readouterr().out


@pytest.mark.long
def test_every_remedy_behind_every_kind_does_what_is_expected_within_ten_minutes(own_lab: Command) -> None:
    began = time.monotonic()
    found = experiments.grid_of(list(EXPECTATIONS), list(kinds.PRESETS))
    took = time.monotonic() - began
    assert [(cell["row"], cell["column"], cell["text"]) for cell in wrong(found)] == []
    assert len(found["cells"]) == len(EXPECTATIONS) * len(kinds.PRESETS)
    assert took < REMEDY_GRID_S
    assert_all_run(found)
    page = grid.write(found, "experiments").read_text(encoding="utf-8")
    assert page.count("<details") == len(found["cells"])


@pytest.mark.long
def test_every_kind_works_with_every_other_within_twenty_minutes(own_lab: Command) -> None:
    began = time.monotonic()
    found = homes.grid_of(homes.KINDS)
    took = time.monotonic() - began
    assert [(cell["row"], cell["column"], cell["text"]) for cell in wrong(found)] == []
    assert len(found["cells"]) == len(homes.KINDS) ** 2 + 2 * len(homes.CONNECTED) ** 2
    assert took < HOMES_GRID_S
    assert_all_run(found)
    page = grid.write(found, "homes").read_text(encoding="utf-8")
    assert page.count("<details") == len(found["cells"])


def wrong(found: grid.Grid) -> list[grid.Cell]:
    """Return the cells that are not as they should be."""
    return [cell for result in ("differs", "broken") for cell in grid.of(result, found["cells"])]


def assert_all_run(found: grid.Grid) -> None:
    """A kind that this kernel has not is reported as unsupported, and is no pass."""
    unsupported = [f"{cell['row']} × {cell['column']}: {cell['text']}" for cell in found["cells"]
                   if cell["result"] == "unsupported"]  # fmt: skip
    if unsupported:
        pytest.skip("; ".join(unsupported))


def test_the_published_grids_are_of_all_remedies_and_kinds() -> None:
    """What stands in docs/ is a run's output: of every remedy and kind that there is, and none went wrong."""
    remedies = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    assert f"| without | {' | '.join(kinds.PRESETS)} |" in remedies
    assert re.findall(r"^\| \*\*(\S+)\*\* \|", remedies, re.MULTILINE) == list(EXPECTATIONS)
    pairs = (ROOT / "docs" / "homes.md").read_text(encoding="utf-8")
    assert f"| {' | '.join(homes.KINDS)} |" in pairs
    for page in (remedies, pairs):
        table = [line for line in page.splitlines() if line.startswith("| **")]
        assert not any(sign in line for sign in "‼✗" for line in table)
    for remedy, expected in EXPECTATIONS.items():
        signs = [SIGNS[experiments.result(expected.causes(kind))] for kind in kinds.PRESETS]
        assert f"| **{remedy}** | {' | '.join(signs)} |" in remedies
