"""One load, in the pod of a system: SIPp answers, SIPp calls; what they counted comes back as a line of JSON.

`sipp.py JOB`, a JSON object with the fields of labkit/bench/load.py Job. Says {"ready": true} when everything but the
caller stands, begins at the next line of standard input, says what was counted when the caller has ended (or, with
`hold`, when all calls are up), and lives until standard input ends.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SCENARIOS = Path("/bench")
START_S = 10.0
OVERTIME_S = 6.0  # after the time that the rate implies; a message that is lost is repeated after 0.5, 1.5, 3.5 s
END_S = 3.0
MOST_CALLS = "15000"  # at a time: SIPp's own limit would lower the rate in silence, and it may have 20,000 files
LISTS = {"udp": ("/proc/net/udp", "07"), "tcp": ("/proc/net/tcp", "0A")}  # sockets, and their state when they wait


started: list[subprocess.Popen[bytes]] = []  # by this process, to be ended with it


class Sipp:
    """A running SIPp and its files."""

    def __init__(self, scenario: str, port: int, job: dict[str, Any], folder: Path, *more: str) -> None:
        name = scenario.partition(".")[0]
        self._statistics = folder / f"{name}.csv"
        self._errors = folder / f"{name}.err"
        command = [
            "sipp", job["target"], "-sf", str(SCENARIOS / scenario), "-i", "127.0.0.1", "-p", str(port), "-nostdin",
            "-t", "t1" if job["transport"] == "tcp" else "u1", "-cid_str", f"%u-{job['run']}@10.0.0.5",
            "-key", "run", job["run"], "-key", "callee", job["callee_name"], "-key", "proxy", "127.0.0.1:5060",
            "-key", "domain", "127.0.0.1", "-key", "parameter", ";transport=tcp" if job["transport"] == "tcp" else "",
            "-default_behaviors", "all,-bye", "-l", MOST_CALLS,
            "-trace_stat", "-stf", str(self._statistics), "-fd", "1", "-trace_err", "-error_file", str(self._errors),
            *more,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
            env={**os.environ, "TERM": "dumb"},
        )  # fmt: skip
        started.append(self.process)

    def statistics(self) -> dict[str, str]:
        """Return the last whole row of what it counts, written every second."""
        last: dict[str, str] = {}
        if self._statistics.exists():
            with self._statistics.open(newline="", encoding="utf-8") as lines:
                for row in csv.DictReader(lines, delimiter=";"):
                    if None not in row.values():
                        last = row
        return last

    def count(self, column: str) -> int:
        """Return one cumulative count."""
        return int(self.statistics().get(f"{column}(C)") or 0)

    def is_unclean(self) -> bool:
        """Say whether a call has failed, or a message was sent again."""
        return self.count("FailedCall") + self.count("Retransmissions") > 0

    def complaint(self) -> str:
        """Return the first line of its errors that says something."""
        lines = self._errors.read_text(errors="replace").splitlines() if self._errors.exists() else []
        said = (line.partition(": ")[2] for line in lines if line[:1].isdigit())  # behind the time
        return next((words.strip()[:300] for words in said if words.strip()), "")

    def stop(self) -> None:
        """Let it end: by itself if it can."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR1)
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def await_port(port: int, transport: str) -> None:
    """Return when somebody listens on a port of this pod. Raises TimeoutError."""
    table, state = LISTS[transport]
    deadline = time.monotonic() + START_S
    while not any(
        fields[1].endswith(f":{port:04X}") and fields[3] == state
        for fields in (line.split() for line in Path(table).read_text(encoding="ascii").splitlines()[1:])
    ):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody listens on port {port} ({transport})")
        time.sleep(0.01)  # pacing of a poll, with a deadline


def times(trace: Path, asked: str, answered: str) -> list[float]:
    """Return the milliseconds from a request's first sending to its answer, ascending.

    Of the trace of messages, whose clock counts microseconds: SIPp's own response times are of a clock that ticks every
    4 ms where the kernel does (CLOCK_MONOTONIC_COARSE).
    """
    sent: dict[tuple[str, str], float] = {}
    found: list[float] = []
    if trace.exists():
        with trace.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                fields = line.rstrip("\n").split("\t")
                if len(fields) < 7:
                    continue
                _, _, at, way, call_id, cseq, start = fields[:7]
                if way == "S" and start.startswith(asked):
                    sent.setdefault((call_id, cseq), float(at))
                elif way == "R" and start.startswith(answered) and (call_id, cseq) in sent:
                    found.append(1000 * (float(at) - sent.pop((call_id, cseq))))
    return sorted(found)


def percentile(ascending: list[float], part: float) -> float | None:
    """Return the value that this part of the values does not exceed."""
    if not ascending:
        return None
    return ascending[min(len(ascending) - 1, max(0, int(part * len(ascending) + 0.999999) - 1))]


def load(job: dict[str, Any], folder: Path) -> None:
    """Do the job. Raises TimeoutError when the one who is called does not listen."""
    callee = None
    if job["callee"]:
        callee = Sipp(job["callee"], job["callee_port"], job, folder)
        await_port(job["callee_port"], job["transport"])
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    more = ["-r", str(job["rate"]), "-m", str(job["calls"]), "-d", str(job["pause_ms"])]
    trace = folder / "messages"
    if job["timed"]:
        more += ["-trace_shortmsg", "-shortmessage_file", str(trace)]
    if job["users"]:
        more += ["-inf", job["users"]]
    began = time.monotonic()
    caller = Sipp(job["scenario"], job["port"], job, folder, *more)
    deadline = began + job["calls"] / job["rate"] + OVERTIME_S
    is_cut = False
    while caller.process.poll() is None:
        if job["hold"] and int(caller.statistics().get("CurrentCall") or 0) >= job["calls"]:
            break
        parties = [caller, *([callee] if callee else [])]
        if time.monotonic() > deadline or (job["abort"] and any(party.is_unclean() for party in parties)):
            is_cut = True
            break
        try:
            caller.process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    seconds = time.monotonic() - began
    if job["hold"]:
        counts = {"seconds": seconds, "up": int(caller.statistics().get("CurrentCall") or 0)}
        print(json.dumps({**counts, "complaint": caller.complaint()}), flush=True)
        sys.stdin.read()
        return
    print(json.dumps({"ended": True}), flush=True)
    if is_cut:
        caller.process.kill()
        caller.process.wait()
    if callee:
        callee.stop()
    rtts = times(trace, *job["timed"]) if job["timed"] else []
    print(json.dumps({
        "seconds": seconds, "is_cut": is_cut, "successful": caller.count("SuccessfulCall"),
        "failed": caller.count("FailedCall") + (callee.count("FailedCall") if callee else 0),
        "retransmissions": caller.count("Retransmissions") + (callee.count("Retransmissions") if callee else 0),
        "p50_ms": percentile(rtts, 0.5), "p95_ms": percentile(rtts, 0.95), "p99_ms": percentile(rtts, 0.99),
        "max_ms": rtts[-1] if rtts else None,
        "complaint": caller.complaint() or (callee.complaint() if callee else ""),
    }), flush=True)  # fmt: skip
    sys.stdin.read()


def main() -> None:
    """Do the job, and leave nothing running."""
    if sys.argv[1] == "await":
        await_port(int(sys.argv[2]), sys.argv[3])
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            load(json.loads(sys.argv[1]), Path(folder))
        finally:
            for process in started:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
