"""What it costs to watch: ten minutes of fifty calls a second, through the router, with taps, judge, and a page that
somebody looks at. Each stays within its bounds, and the lab judges the next call as if nothing had been."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labkit.settings import PAGE_PORT
from tests.e2e.browser import looking, started, until, value
from tests.e2e.lab import Lab, standing
from tests.unit.process import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.long]

RATE_PER_S, SECONDS = 50, 600
CALLS = RATE_PER_S * SECONDS
SCRIPT = Path(__file__).with_name("scripts") / "load.py"
# MiB of memory, and of one core the share on average. The page has a limit of 512 MiB, at which it would be restarted.
BOUNDS = {
    "page": (400, 0.5), "observer": (800, 0.25), "tap-nat": (60, 0.1), "tap-proxy": (60, 0.1), "tap-core": (60, 0.1),
}  # fmt: skip
UNITS = {"B": 1 / 2**20, "KiB": 1 / 2**10, "MiB": 1.0, "GiB": 2.0**10}


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
        used = watch.stop()
    for name, (most_mib, most_cpu) in BOUNDS.items():
        peak, cpu = max(used[name].mib), statistics.mean(used[name].cpu)
        print(f"{name}: {peak:.0f} MiB at the most (bound {most_mib}), {cpu:.2f} of a core (bound {most_cpu})")
    print(f"calls: {counts}")
    assert run.code == 0, run.explain()
    assert counts["dave"]["successful"] == counts["carol"]["successful"] == CALLS
    for name, (most_mib, most_cpu) in BOUNDS.items():
        assert max(used[name].mib) <= most_mib, name
        assert statistics.mean(used[name].cpu) <= most_cpu, name


def _calls(lab: Lab) -> dict[str, dict[str, int]]:
    """Have Dave, in Alice's home, call Carol, who is where Bob is; return what SIPp counted."""
    program = SCRIPT.read_text(encoding="utf-8")

    def sipp(service: str, *words: str) -> dict[str, dict[str, int]]:
        command = ("env", "PYTHONPATH=/srv", "python3", "-", "5060", *words)
        found: dict[str, dict[str, int]] = json.loads(lab.execute(service, *command, stdin=program))
        return found

    with ThreadPoolExecutor() as pool:
        answers = pool.submit(sipp, "bob", "answer", str(CALLS), str(SECONDS + 60))
        places = pool.submit(sipp, "alice", "place", str(CALLS), str(RATE_PER_S))
        return {**answers.result(), **places.result()}


class Used:
    """What a container took, sample by sample."""

    def __init__(self) -> None:
        self.mib: list[float] = []
        self.cpu: list[float] = []


class Watch(threading.Thread):
    """Asks Docker again and again what the containers of a lab take."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(daemon=True)
        self._names = {lab.container(service): service for service in BOUNDS}
        self._done = threading.Event()
        self._used: dict[str, Used] = defaultdict(Used)

    def run(self) -> None:
        """Sample until stopped: each takes two seconds."""
        told = "{{.Container}} {{.MemUsage}} {{.CPUPerc}}"
        command = ["docker", "stats", "--no-stream", "--format", told, *self._names]
        while not self._done.is_set():
            sample = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            for name, size, unit, cpu in re.findall(r"(\S+) ([\d.]+)([KMG]?i?B) / .* ([\d.]+)%", sample):
                self._used[self._names[name]].mib.append(float(size) * UNITS[unit])
                self._used[self._names[name]].cpu.append(float(cpu) / 100)

    def stop(self) -> dict[str, Used]:
        """Return what was seen."""
        self._done.set()
        self.join()
        return self._used
