"""Two labs on one machine: each has its own calls, and neither notices the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from labkit.outcome import Exit
from tests.e2e.lab import Command, Run

pytestmark = [pytest.mark.e2e, pytest.mark.long]

CALLS = ("call", "--from", "bob", "--count", "20", "--at-once")
SUBNETS = ("HOME_SUBNET", "INTERNET_SUBNET")


@pytest.fixture
def labs() -> Iterator[tuple[Command, Command]]:
    """`./lab`, typed in two projects that are removed afterwards."""
    both = Command("left"), Command("right")
    yield both
    for one in both:
        one.run("down")


def at_once(one: Callable[[], Run], other: Callable[[], Run]) -> tuple[Run, Run]:
    """Do two things at the same time, and return what came of them."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(one), pool.submit(other)
        return first.result(), second.result()


def passed(command: Command, *arguments: str) -> Run:
    """Type `./lab` with these arguments, see it pass, and return the run."""
    done = command.run(*arguments)
    assert done.returncode == Exit.PASS, done.stdout + done.stderr
    run = command.read(done)
    assert run.verdict == "pass"
    return run


def lasted(run: Run) -> tuple[float, float]:
    """Return when the run's calls began and ended."""
    calls = [row["time"] for row in run.messages if row["cseq"].endswith((" INVITE", " BYE"))]
    return min(calls), max(calls)


def addresses(run: Run) -> set[str]:
    """Return the networks of all addresses that were seen, without the last octet."""
    return {row[end].rpartition(".")[0] for row in run.messages for end in ("source", "destination")}


def test_two_labs_do_not_disturb_each_other(labs: tuple[Command, Command]) -> None:
    left, right = labs
    at_once(lambda: passed(left, "up"), lambda: passed(right, "up", "--nat", "symmetric"))
    runs = at_once(lambda: passed(left, *CALLS), lambda: passed(right, *CALLS))
    spans = [lasted(run) for run in runs]
    assert max(begin for begin, _ in spans) < min(end for _, end in spans), "they called one after the other"
    for command, run in zip(labs, runs, strict=True):
        own = {command.environment[name].removesuffix(".0/24") for name in SUBNETS}
        assert addresses(run) == own
        assert len({row["call_id"] for row in run.messages if row["first_line"].startswith("INVITE ")}) == 20
    assert left.run("down").returncode == Exit.PASS
    assert left.traces() == ""
    assert addresses(passed(right, "call")) == addresses(runs[1])
