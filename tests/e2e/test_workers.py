"""A proxy of several processes, through a real NAT: the calls of all of them, with sound, whichever way they go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.lab import Lab, standing

pytestmark = pytest.mark.e2e

COUNT = 3
CALLS = 12  # that all of the same worker's: one in 180,000 runs


@pytest.fixture(scope="module", params=["udp", "tcp"])
def workers(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab whose proxy has several workers; Alice speaks one transport, Bob UDP."""
    variables, speaks = {"SIP_PROXY_WORKERS": str(COUNT)}, request.param
    with standing(f"workers-{speaks}", variables, transport=speaks, bob_transport="udp") as lab:
        yield lab


@pytest.mark.parametrize("caller", ["alice", "bob"])
def test_calls_of_all_workers_are_set_up_heard_and_ended(workers: Lab, caller: str) -> None:
    for hangs_up in ("caller", "callee"):
        run = workers.call("--from", caller, "--count", str(CALLS), "--at-once", "--hangup", hangs_up, "--audio", "1")
        assert run.verdict == "pass", run.explain()
