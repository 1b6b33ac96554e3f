"""One load: calls, or media, through a system at a rate; what was counted, and what the system used meanwhile."""

from __future__ import annotations

import json
import secrets
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from labkit.bench.containers import Standing
from labkit.outcome import LabBroken

PORT, CALLEE_PORT, HELD_PORTS = 5080, 5070, (5081, 5071)
PACKETS_PER_CALL = 100  # a second: 50 each way
SAMPLE_S = 1.0  # how often memory is looked at
SLOW_MS = 500.0  # T1: an answer that took longer was asked for twice, or sent twice
KEPT = 1.05  # what a run may take longer than its rate implies


@dataclass(slots=True)
class MediaJob:
    """What tests/bench/rtp.py is to do: calls that are up, with sound both ways, 50 packets a second each way."""

    system: str  # who is told of the calls, and how
    calls_up: int
    seconds: int
    run: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def rate(self) -> int:
        """Packets a second."""
        return self.calls_up * PACKETS_PER_CALL

    @property
    def calls(self) -> int:
        """The units of this work, which are packets."""
        return self.rate * self.seconds


@dataclass(slots=True)
class Job:
    """What SIPp is to do, as tests/bench/sipp.py reads it."""

    scenario: str
    rate: int
    calls: int
    timed: list[str] = field(default_factory=list)  # a request and its answer, where times are wanted
    callee: str = ""
    callee_name: str = "service"
    transport: str = "udp"
    users: str = ""
    pause_ms: int = 0
    hold: bool = False  # the calls stay up
    abort: bool = False  # the first failure or retransmission ends it
    target: str = "127.0.0.1:5060"
    port: int = PORT
    callee_port: int = CALLEE_PORT
    run: str = field(default_factory=lambda: secrets.token_hex(4))  # in every branch and tag


@dataclass(slots=True)
class Result:
    """What came of it. Times in milliseconds, None where none were taken."""

    calls: int  # that were asked for
    rate: int
    successful: int
    failed: int
    retransmissions: int
    seconds: float
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    complaint: str = ""
    cpu_us: float = 0.0  # of the system, from the caller's first second to its last
    memory_bytes: list[tuple[float, int]] = field(default_factory=list)  # (second, what was resident)

    def fault(self) -> str:
        """Return why this was no clean run, "" for one that was."""
        if self.failed:
            return f"{self.failed} of {self.calls} failed{self.complaint and ': '}{self.complaint}"
        if self.retransmissions:
            return f"{self.retransmissions} retransmissions"
        if self.successful != self.calls:
            return f"{self.successful} of {self.calls} calls done in {self.seconds:.0f} s"
        if self.seconds > KEPT * self.calls / self.rate + 1:
            return f"SIPp did not keep its rate: {self.calls} calls took {self.seconds:.1f} s"
        if self.max_ms is not None and self.max_ms >= SLOW_MS:
            return f"an answer took {self.max_ms:.0f} ms: a message was lost on its way"
        return ""


def run(standing: Standing, job: Job | MediaJob) -> Result:
    """Do the job, and return what came of it. Raises LabBroken where who does it does not run."""
    account = standing.account
    with _asked(standing, job) as process:
        began, before = time.monotonic(), account.cpu_us() if account else 0.0
        _tell(process)
        samples: list[tuple[float, int]] = []
        while account and not _has_line(process):
            samples.append((time.monotonic() - began, account.memory_bytes()))
        _read(process, standing)
        used = (account.cpu_us() if account else 0.0) - before
        said = _read(process, standing)
    return Result(
        job.calls, job.rate, said["successful"], said["failed"], said["retransmissions"], said["seconds"],
        said["p50_ms"], said["p95_ms"], said["p99_ms"], said["max_ms"], said["complaint"], used, samples,
    )  # fmt: skip


@contextmanager
def held(standing: Standing, calls: int, rate: int) -> Iterator[float]:
    """Calls that are up while this lasts; yields in how many seconds they came up. Raises LabBroken."""
    port, callee_port = HELD_PORTS
    job = Job("uac_call.xml", rate, calls, callee="uas_call.xml", callee_name="held", pause_ms=7_200_000, hold=True,
              port=port, callee_port=callee_port)  # fmt: skip
    with _asked(standing, job) as process:
        _tell(process)
        said = _read(process, standing)
        if said["up"] < calls:
            raise LabBroken(f"{standing.name}: {said['up']} of {calls} calls came up: {said['complaint']}")
        yield said["seconds"]


@contextmanager
def _asked(standing: Standing, job: Job | MediaJob) -> Iterator[subprocess.Popen[str]]:
    """A job that waits for its start, ended afterwards with all that it started."""
    script = "rtp.py" if isinstance(job, MediaJob) else "sipp.py"
    process = subprocess.Popen(
        ["docker", "exec", "--interactive", standing.pod, "python3", f"/bench/{script}", json.dumps(asdict(job))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    try:
        _read(process, standing)
        yield process
    finally:
        process.communicate()  # ends its standard input: it ends what it started, and then itself


def _tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def _has_line(process: subprocess.Popen[str]) -> bool:
    """Say whether it has said something, or ended; waits SAMPLE_S for that."""
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], SAMPLE_S)[0])


def _read(process: subprocess.Popen[str], standing: Standing) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        complaint = process.communicate()[1].strip().splitlines()[-1:]
        raise LabBroken(f"the load beside {standing.name} ended early: {' '.join(complaint) or 'no reason given'}")
    said: dict[str, Any] = json.loads(line)
    return said
