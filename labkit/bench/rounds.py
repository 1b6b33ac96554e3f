"""Rounds that alternate between the systems, so that a machine that drifts favours nobody.

What a unit costs is what a system used while it was called, and what it used later because of it: a proxy keeps
transactions for 32 s, a registrar writes behind. So all CPU from the first call until everything has ended is shared
out, without what the system uses when nobody calls.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from labkit.bench import load
from labkit.bench.containers import Standing
from labkit.bench.load import PACKETS_PER_CALL, Job, MediaJob, Result
from labkit.bench.systems import Users
from labkit.bench.work import Work
from labkit.outcome import LabBroken, say

WARM_UP_S = 2
IDLE_S = 3.0
QUIET = 0.2  # of a processor: what uses more is still starting
START_S = 60.0
KNOWN = 1000  # phones that are registered already
SETTLE_S = 34.0  # longer than the longest timer of a transaction, 64*T1 = 32 s


@dataclass(slots=True)
class Figures:
    """What one system was measured at in all rounds."""

    rate: int
    results: list[Result] = field(default_factory=list)
    idle_us_per_s: float = 0.0
    later_us: float = 0.0  # of a unit, when nobody called any more
    memory_before: int = 0
    memory_after: int = 0

    @property
    def cpu_us(self) -> list[float]:
        """The CPU of a unit, round by round."""
        return [result.cpu_us / result.successful + self.later_us for result in self.results if result.successful]

    @property
    def faults(self) -> list[str]:
        """What was wrong in the rounds."""
        return [fault for result in self.results if (fault := result.fault())]

    @property
    def memory_peak(self) -> int:
        """The most that was resident when it was looked at."""
        seen = [size for result in self.results for _, size in result.memory_bytes]
        return max([self.memory_before, self.memory_after, *seen])

    def of(self, name: str) -> float | None:
        """Return the median of a time, "p50_ms" for example, over the rounds."""
        values = [value for result in self.results if (value := getattr(result, name)) is not None]
        return statistics.median(values) if values else None


@dataclass(slots=True)
class _Meter:
    """One system's CPU from before its first call on."""

    standing: Standing
    began: float = 0.0
    first_us: float = 0.0
    called_s: float = 0.0
    called_us: float = 0.0
    units: int = 0

    def cpu_us(self) -> float:
        assert self.standing.account is not None
        return self.standing.account.cpu_us()

    def memory(self) -> int:
        assert self.standing.account is not None
        return self.standing.account.memory_bytes()

    def call(self, job: Job | MediaJob) -> Result:
        result = load.run(self.standing, job)
        self.called_s += result.seconds
        self.called_us += result.cpu_us
        self.units += result.successful
        return result


def measure(
    standings: Mapping[str, Standing], work: Work, users: Users, rounds: int, seconds: int
) -> dict[str, Figures]:
    """Measure a kind of work on systems that stand; return the figures by system. Raises LabBroken."""
    meters = {name: _Meter(standing) for name, standing in standings.items()}
    figures = {name: Figures(work.rates[name]) for name in standings}
    for name, idle in _idle(meters).items():
        figures[name].idle_us_per_s = idle
    for name, meter in meters.items():
        figures[name].memory_before = meter.memory()
        meter.began, meter.first_us = time.monotonic(), meter.cpu_us()
        warm = meter.call(warm_up(work, users, work.rates[name], name))
        if not warm.successful:
            raise LabBroken(f"{name} does not do {work.name}: {warm.fault()}; SIPp says: {warm.complaint or 'nothing'}")
    for number in range(1, rounds + 1):
        order = list(meters) if number % 2 else list(reversed(meters))
        for name in order:
            result = meters[name].call(job(work, users, work.rates[name], seconds, name))
            figures[name].results.append(result)
            used = result.cpu_us / max(1, result.successful)
            fault = result.fault()
            say(f"{work.name}, round {number} of {rounds}: {name} {used:.1f} µs a {work.unit}{fault and ': '}{fault}")
    time.sleep(SETTLE_S)  # not for anything to happen, but for everything to have ended: this time is measured, too
    for name, meter in meters.items():
        idle_s = time.monotonic() - meter.began - meter.called_s
        later = meter.cpu_us() - meter.first_us - meter.called_us - figures[name].idle_us_per_s * idle_s
        figures[name].later_us = max(0.0, later) / max(1, meter.units)
        figures[name].memory_after = meter.memory()
    return figures


def warm_up(work: Work, users: Users, rate: int, system: str) -> Job | MediaJob:
    """Return the job that comes before what counts; phones that are to be known register in it, all of them."""
    found = job(work, users, rate, WARM_UP_S, system)
    if isinstance(found, Job) and work.users == "known":
        found.calls = KNOWN
    return found


def job(
    work: Work, users: Users, rate: int, seconds: int, system: str, *, is_timed: bool = True, abort: bool = False
) -> Job | MediaJob:
    """Return the job of one run. SIPp begins a file of users again at its end."""
    if work.is_media:
        return MediaJob(system, max(1, rate // PACKETS_PER_CALL), seconds)
    calls = rate * seconds
    share = ""
    if work.users:
        share = users.share(KNOWN, 0) if work.users == "known" else users.share(calls)
    return Job(
        work.scenario, rate, calls, list(work.timed) if is_timed else [], work.callee, transport=work.transport,
        users=share, abort=abort,
    )  # fmt: skip


def _idle(meters: Mapping[str, _Meter]) -> dict[str, float]:
    """Return what each system uses in a second when nobody calls, measured when all have started. Raises LabBroken."""
    deadline = time.monotonic() + START_S
    while True:
        before = {name: (time.monotonic(), meter.cpu_us()) for name, meter in meters.items()}
        time.sleep(IDLE_S)  # the time that is measured
        used = {
            name: (meters[name].cpu_us() - cpu_us) / (time.monotonic() - at) for name, (at, cpu_us) in before.items()
        }
        busy = [name for name, each in used.items() if each > QUIET * 1e6]
        if not busy:
            return used
        if time.monotonic() > deadline:
            raise LabBroken(f"{', '.join(busy)} uses a processor although nobody calls")
