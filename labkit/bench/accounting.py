"""What a container has used, by the kernel's own accounts: cgroup v2, cgroup v1, or the processes themselves.

CPU is user and system time of all threads and children together. Memory is what is resident, shared pages counted once
(PSS) where this user may read that, else each process's own count (RSS), where shared pages count more than once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labkit.outcome import Mistake

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# /proc/PID/stat after the name in brackets: fields 14 to 17 of proc(5), which counts from 1 and has two before them.
PPID, UTIME, CSTIME = 1, 11, 14


@dataclass(slots=True, frozen=True)
class Account:
    """Where the use of one container is read. `path` is its cgroup's folder, or /proc/PID of its first process."""

    kind: str  # "cgroup v2", "cgroup v1" or "/proc"
    path: Path
    proc: Path
    pid: int

    def cpu_us(self) -> float:
        """Return the microseconds of CPU since it began."""
        if self.kind == "cgroup v2":
            return float(_table(self.path / "cpu.stat")["usage_usec"])
        if self.kind == "cgroup v1":
            return int((self.path / "cpuacct.usage").read_text(encoding="ascii")) / 1000
        return sum(_ticks(self.proc / str(pid)) for pid in self.processes()) * 1e6 / TICKS_PER_S

    def cpu_us_by_process(self) -> list[float]:
        """Return the microseconds of CPU of each process, to a hundredth of a second."""
        return [_ticks(self.proc / str(pid)) * 1e6 / TICKS_PER_S for pid in self.processes()]

    def memory_bytes(self) -> int:
        """Return what is resident now."""
        return sum(_resident(self.proc / str(pid)) for pid in self.processes())

    def processes(self) -> list[int]:
        """Return the ids of its processes."""
        if self.kind != "/proc":
            return [int(line) for line in (self.path / "cgroup.procs").read_text(encoding="ascii").split()]
        children: dict[int, list[int]] = {}
        for folder in self.proc.glob("[0-9]*"):
            for fields in _stat(folder):
                children.setdefault(int(fields[PPID]), []).append(int(folder.name))
        found, left = [], [self.pid]
        while left:
            pid = left.pop()
            found.append(pid)
            left += children.get(pid, [])
        return sorted(found)


def of(container: str, pid: int, proc: Path = PROC, cgroups: Path = CGROUPS) -> Account:
    """Return the account of a container, by its id and the id of its first process. Raises Mistake."""
    try:
        groups = (proc / str(pid) / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        groups = []
    if not any(container in line for line in groups):  # a process of that number is another machine's, or another one
        raise Mistake(
            f"bench: /proc/{pid} of this machine is not the container's: CPU can be accounted only where the Docker "
            "engine runs on this very machine"
        )
    for line in groups:
        number, controllers, group = line.split(":", 2)
        inside = group.lstrip("/")
        if number == "0" and (cgroups / inside / "cpu.stat").is_file():
            return Account("cgroup v2", cgroups / inside, proc, pid)
        if "cpuacct" in controllers.split(","):
            for name in (controllers, "cpuacct"):
                if (cgroups / name / inside / "cpuacct.usage").is_file():
                    return Account("cgroup v1", cgroups / name / inside, proc, pid)
    return Account("/proc", proc / str(pid), proc, pid)


def _table(path: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in path.read_text(encoding="ascii").splitlines())


def _stat(folder: Path) -> Iterator[list[str]]:
    """Yield the fields of a process's stat from its state on; nothing where it has ended meanwhile."""
    try:
        yield (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return


def _ticks(folder: Path) -> int:
    return sum(sum(map(int, fields[UTIME : CSTIME + 1])) for fields in _stat(folder))


def _resident(folder: Path) -> int:
    for name, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0
