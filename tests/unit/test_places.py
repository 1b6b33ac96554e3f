"""Labs of test runs on one machine never meet, whatever the numbers of their processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e import lab

ROOT = Path(__file__).resolve().parents[2]
LABS = 12
# A test run of another process number than it has: it claims, says what, and lives until its standard input ends.
RUN = """
import json, os, sys
number = int(sys.argv[1])
os.getpid = lambda: number
from tests.e2e.lab import subnets
print(json.dumps([subnets(str(lab))["INTERNET_SUBNET"] for lab in range(int(sys.argv[2]))]), flush=True)
sys.stdin.read()
"""


@contextmanager
def run(number: int) -> Iterator[list[str]]:
    """Another test run; the subnets of its labs."""
    command = [sys.executable, "-c", RUN, str(number), str(LABS)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.communicate()


def test_no_two_runs_have_the_same_place() -> None:
    with ExitStack() as stack:
        taken = [subnet for number in (1000, 1008, 1000) for subnet in stack.enter_context(run(number))]
        assert len(set(taken)) == 3 * LABS


def test_a_lab_keeps_its_place_and_another_has_another() -> None:
    one, again, other = (lab.subnets(name) for name in ("places-one", "places-one", "places-other"))
    assert one == again
    assert {one[name] for name in one}.isdisjoint(other.values())


def test_a_place_is_claimed_as_long_as_its_process_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are as many places as a run has labs, none is left while it lives, and all are when it has ended."""
    with run(1000) as subnets:
        places = [int(octet) + 256 * (int(second) - 18) for _, second, octet, _ in (net.split(".") for net in subnets)]
        monkeypatch.setattr(lab, "PLACES", places)
        with pytest.raises(RuntimeError, match=f"all {LABS} places for labs are taken by test runs on this machine"):
            lab.place("places-none")
    monkeypatch.setattr(lab, "_places", {})
    assert lab.place("places-free") in places


def test_a_run_in_the_background_of_a_script_has_an_interrupt() -> None:
    """There SIGINT is ignored, and so it would be by all that the tests start, and interrupt, and wait for."""
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
