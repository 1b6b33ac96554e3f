"""What stays after `up`: phones that are registered and answer, for as long as the lab stands."""

from __future__ import annotations

import threading
import time

import pytest

from tests.e2e.lab import Lab, docker

pytestmark = pytest.mark.e2e

IDLE_S = 60
CUTS = 5
FALTER_S = 0.15  # less than T1: nobody sends anything again
REFRESHES = 2  # since her last call: longer than the router remembers a short UDP flow


def test_the_phones_stay_registered_while_nobody_calls(lab: Lab) -> None:
    """A short UDP flow is forgotten by the router after 30 s; Alice's refresh keeps it, and Bob still reaches her."""
    deadline = time.monotonic() + IDLE_S
    while int(lab.execute("alice", "cat", "/tmp/refreshes")) < REFRESHES:
        assert time.monotonic() < deadline, "Alice did not refresh her registration"
        time.sleep(1)  # pacing of a poll, with a deadline
    run = lab.call("--from", "bob")
    assert run.code == 0, run.explain()


def test_a_refresh_while_the_taps_are_cut_is_not_told_as_half_of_one(lab: Lab) -> None:
    """Alice registers over and over while run after run is judged: every tap's capture ends at another moment, and some
    answers of the proxy, which is slow, come in between."""
    over = threading.Event()
    faltering = threading.Thread(target=falter, args=(lab.container("proxy"), over))
    faltering.start()
    try:
        told = lab.script("bob", "cuts", str(CUTS))
    finally:
        over.set()
        faltering.join()
    assert told.count("── REGISTER ──") >= CUTS
    assert "✗" not in told, told


def falter(container: str, over: threading.Event) -> None:
    """Stop a process and let it go on, again and again: it answers late."""
    while not over.is_set():
        docker("kill", "--signal", "STOP", container)
        over.wait(FALTER_S)
        docker("kill", "--signal", "CONT", container)
        over.wait(FALTER_S)
