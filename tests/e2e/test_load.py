"""Thousands of calls through the proxy, and what is left of them afterwards: nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from labkit import stack
from tests.e2e.lab import Lab

pytestmark = pytest.mark.e2e

PORT = 5070  # of a proxy beside the lab's own, which has its phones' refreshes to serve
HTTP_PORT = 8061
RATE_PER_S = 200
CALM_S = 60.0  # longer than the longest timer, 64*T1 = 32 s
GROWTH = 1.05

# It is killed at the end of the test: nothing of it is to be kept.
SERVE = "echo $$ >/tmp/load.pid; exec pypy3 -m proxy >/dev/null"  # its log is nobody's
ASK = f"from urllib.request import urlopen; print(urlopen('http://127.0.0.1:{HTTP_PORT}/metrics').read().decode())"


@contextmanager
def serving(lab: Lab, *variables: str) -> Iterator[None]:
    """A second proxy in the proxy's container, like the first but for its ports and these variables."""
    own = [f"SIP_PROXY_PORT={PORT}", f"SIP_PROXY_HTTP_PORT={HTTP_PORT}", "SIP_PROXY_STATE=/tmp/load", *variables]
    with subprocess.Popen(
        stack.inside(lab.settings, "proxy", "env", *own, "sh", "-c", SERVE),
        env=lab.settings.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ):  # fmt: skip
        try:
            ping = "until [ -e /tmp/load.pid ] && python3 -m proxy ping; do :; done"
            lab.execute("proxy", "env", *own, "timeout", "20", "sh", "-c", ping)
            yield
        finally:
            lab.execute("proxy", "sh", "-c", "kill -KILL $(cat /tmp/load.pid); rm -r /tmp/load.pid /tmp/load")
            throw_captures_away(lab)


def throw_captures_away(lab: Lab) -> None:
    """Let no later run be judged by these calls."""
    for tap in ("tap-nat", "tap-proxy", "tap-core"):
        asking = f"from observer.control import ask; ask('{tap}', {{'folder': '/lab/load'}})"
        lab.execute(tap, "python3", "-c", f"{asking}; import shutil; shutil.rmtree('/lab/load')")


def metrics(lab: Lab) -> dict[str, float]:
    """Return what the second proxy says of itself, without the common beginning of the names."""
    page = lab.execute("proxy", "python3", "-c", ASK)
    return {name: float(value) for name, value in re.findall(r"(?m)^sip_proxy_(\w+) (\S+)$", page)}


def live(found: dict[str, float]) -> float:
    """Return how many transactions live."""
    return found["transactions_server"] + found["transactions_client"]


def calm(lab: Lab) -> dict[str, float]:
    """Return the metrics when no transaction lives any more."""
    deadline = time.monotonic() + CALM_S
    while live(found := metrics(lab)):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)  # pacing of a poll, with a deadline
    return found


def peak_bytes(lab: Lab) -> int:
    """Return the most memory that the second proxy has ever had."""
    status = lab.execute("proxy", "sh", "-c", "cat /proc/$(cat /tmp/load.pid)/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def call(lab: Lab, calls: int) -> dict[str, float]:
    """Have so many calls placed, none of which may fail or need a retransmission; return the metrics at their end."""
    counts = json.loads(lab.script("bob", "load", str(PORT), str(calls), str(RATE_PER_S)))
    good = {"successful": calls, "failed": 0, "retransmissions": 0, "exit_code": 0}
    found = metrics(lab)
    assert counts == {"dave": good, "carol": good}, f"load of this machine {os.getloadavg()}, proxy {found}"
    return found


def run_and_see_nothing_left(lab: Lab, calls: int, runs: int) -> list[dict[str, float]]:
    """Place the calls so many times; return the metrics of the calm after each run."""
    registered = json.loads(lab.script("bob", "load", str(PORT), "register"))
    assert registered["carol"]["successful"] == 1
    before = calm(lab)
    assert before["bindings"] == 1
    after = []
    for number in range(1, runs + 1):
        busy = call(lab, calls)
        assert live(busy) > 0, "or zero afterwards would say nothing"
        after.append(calm(lab))
        print(
            f"run {number}: {calls} calls; {live(busy):g} live transactions at their end, then 0; "
            f"memory {after[-1]['memory_bytes'] / 2**20:.1f} MiB, "
            f"{before['memory_bytes'] / 2**20:.1f} before, {peak_bytes(lab) / 2**20:.1f} at the most"
        )
        assert after[-1]["requests_total"] - before["requests_total"] >= 4 * calls * number
        assert after[-1]["retransmissions_total"] == after[-1]["absorbed_total"] == 0
        assert after[-1]["internal_errors_total"] == 0
        for name in ("bindings", "file_descriptors"):
            assert after[-1][name] == before[name], name
    return after


@pytest.mark.long  # nothing may be late: it needs a machine on which nothing else runs
def test_a_thousand_calls_leave_nothing_behind(lab: Lab) -> None:
    with serving(lab, "SIP_PROXY_T1=0.1"):  # 64*T1 is 6.4 s, as long as the others' own timers are from theirs
        run_and_see_nothing_left(lab, 1_000, 1)


@pytest.mark.long
def test_thirty_thousand_calls_need_no_more_memory_than_ten_thousand(lab: Lab) -> None:
    with serving(lab):
        first, _, third = run_and_see_nothing_left(lab, 10_000, 3)
    assert third["memory_bytes"] <= GROWTH * first["memory_bytes"]
