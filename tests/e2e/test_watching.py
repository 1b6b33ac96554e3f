"""What it costs to watch: ten minutes of fifty calls a second, through the router, with taps, judge, and a page that
somebody looks at. Each stays within its bounds, and the lab judges the next call as if nothing had been."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labkit.bench import accounting
from labkit.settings import PAGE_PORT
from tests.e2e.browser import looking, started, until, value
from tests.e2e.lab import Lab, docker, standing
from tests.unit.process import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.long]

RATE_PER_S, SECONDS = 50, 600
CALLS = RATE_PER_S * SECONDS
SCRIPT = Path(__file__).with_name("scripts") / "load.py"
# MiB of memory, and of one core the share on average. The page has a limit of 512 MiB, at which it would be restarted.
BOUNDS = {
    "page": (480, 0.5), "observer": (800, 0.25), "tap-nat": (120, 0.1), "tap-proxy": (120, 0.1), "tap-core": (120, 0.1),
}  # fmt: skip
EVERY_S = 0.5


def test_ten_minutes_of_fifty_calls_a_second_are_watched_within_bounds() -> None:
    with started() as browser, standing("watching", page=str(free_port())) as lab:
        carol = json.loads(lab.script("bob", "load", "5060", "register"))
        assert carol["carol"]["successful"] == 1
        watch = Watch(lab)
        watch.start()
        with looking(browser, f"http://localhost:{lab.settings.values[PAGE_PORT]}/") as page:
            counts = _calls(lab)
            until(page, "view.calls.some((call) => call.state === 'ended')")
            print(f"calls on the page: {value(page, 'view.calls.length')}, notes: {value(page, 'view.notes')}")
            began = time.monotonic()
            run = lab.call("--audio")
            print(f"the next call was judged after {time.monotonic() - began:.0f} s")
            until(page, f"view.title === '{run.folder.name}'")
        watch.stop()
    used = {name: (watch.peaks[name] / 2**20, watch.cores[name]) for name in BOUNDS}
    for name, (mib, core) in used.items():
        print(f"{name}: {mib:.0f} MiB at the most (bound {BOUNDS[name][0]}), {core:.2f} of a core ({BOUNDS[name][1]})")
    print(f"calls: {counts}")
    assert run.code == 0, run.explain()
    assert counts["dave"]["successful"] == counts["carol"]["successful"] == CALLS
    for name, (most_mib, most_cores) in BOUNDS.items():
        assert used[name][0] <= most_mib, name
        assert used[name][1] <= most_cores, name


def _calls(lab: Lab) -> dict[str, dict[str, int]]:
    """Have Dave, in Alice's home, call Carol, who is where Bob is; return what SIPp counted."""
    program = SCRIPT.read_text(encoding="utf-8")

    def sipp(service: str, *words: str) -> dict[str, dict[str, int]]:
        command = ("env", "PYTHONPATH=/srv", "python3", "-", "5060", *words)
        found: dict[str, dict[str, int]] = json.loads(lab.execute(service, *command, stdin=program))
        return found

    with ThreadPoolExecutor() as pool:
        answers = pool.submit(sipp, "bob", "answer", str(CALLS), str(SECONDS + 60))
        placed = sipp("alice", "place", str(CALLS), str(RATE_PER_S))
        lab.execute("bob", "touch", "/tmp/answered")
        return {**placed, **answers.result()}


class Watch(threading.Thread):
    """Looks again and again at what the containers of a lab take."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(daemon=True)
        self._accounts = {service: _account(lab.container(service)) for service in BOUNDS}
        self._done = threading.Event()
        self.peaks = dict.fromkeys(BOUNDS, 0)  # bytes
        self.cores: dict[str, float] = {}  # the share of one, on average

    def run(self) -> None:
        """Look until stopped."""
        before = {name: account.cpu_us() for name, account in self._accounts.items()}
        began = time.monotonic()
        while not self._done.wait(EVERY_S):
            for name, account in self._accounts.items():
                self.peaks[name] = max(self.peaks[name], account.memory_bytes())
        spent = (time.monotonic() - began) * 1e6
        self.cores = {name: (account.cpu_us() - before[name]) / spent for name, account in self._accounts.items()}

    def stop(self) -> None:
        """Look no more."""
        self._done.set()
        self.join()


def _account(container: str) -> accounting.Account:
    return accounting.of(container, int(docker("inspect", "--format", "{{.State.Pid}}", container)))
