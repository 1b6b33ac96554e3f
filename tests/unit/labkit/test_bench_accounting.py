"""What a container used is read from the kernel, whichever of its ways it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.bench import accounting
from labkit.outcome import Mistake

ID, PID = "abc123", 42


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with /proc and /sys/fs/cgroup, and one container's process in the former."""
    (tmp_path / "cgroup").mkdir()
    process(tmp_path, PID, 1, 100, 50, 7, 3, 1000)
    return tmp_path


def process(machine: Path, pid: int, parent: int, *ticks_and_kb: int) -> Path:
    """Put a process there; its name is the worst that a name can be."""
    folder = machine / "proc" / str(pid)
    folder.mkdir(parents=True)
    *ticks, kb = ticks_and_kb
    fields = f"S {parent} {' '.join('0' * 9)} {' '.join(map(str, ticks))} 20 0"
    (folder / "stat").write_text(f"{pid} (a) b ( c) {fields}\n")
    (folder / "status").write_text(f"Name:\tx\nVmHWM:\t{2 * kb} kB\nVmRSS:\t{kb} kB\n")
    return folder


def groups(machine: Path, text: str) -> None:
    (machine / "proc" / str(PID) / "cgroup").write_text(text)


def found(machine: Path) -> accounting.Account:
    return accounting.of(ID, PID, machine / "proc", machine / "cgroup")


def test_version_2_counts_microseconds(machine: Path) -> None:
    groups(machine, f"0::/system.slice/docker-{ID}.scope\n")
    folder = machine / "cgroup" / "system.slice" / f"docker-{ID}.scope"
    folder.mkdir(parents=True)
    (folder / "cpu.stat").write_text("usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\n")
    (folder / "cgroup.procs").write_text(f"{PID}\n")
    account = found(machine)
    assert (account.kind, account.cpu_us(), account.memory_bytes()) == ("cgroup v2", 1234567.0, 1000 * 1024)


@pytest.mark.parametrize("mounted", ["cpuacct", "cpu,cpuacct"])
def test_version_1_counts_nanoseconds(machine: Path, mounted: str) -> None:
    groups(machine, f"4:memory:/docker/{ID}\n3:{mounted}:/docker/{ID}\n0::/docker/{ID}\n")
    folder = machine / "cgroup" / mounted / "docker" / ID
    folder.mkdir(parents=True)
    (folder / "cpuacct.usage").write_text("987654321\n")
    (folder / "cgroup.procs").write_text(f"{PID}\n43\n44\n")  # 44 has ended meanwhile
    process(machine, 43, PID, 0, 0, 0, 0, 500)
    account = found(machine)
    assert (account.kind, account.cpu_us(), account.memory_bytes()) == ("cgroup v1", 987654.321, 1500 * 1024)


def test_without_either_the_processes_are_asked_with_their_children(machine: Path) -> None:
    groups(machine, f"3:cpuacct:/docker/{ID}\n")
    process(machine, 43, PID, 10, 5, 0, 0, 500)
    process(machine, 44, 43, 1, 1, 0, 0, 300)
    process(machine, 99, 1, 1000, 1000, 0, 0, 9000)  # somebody else's
    account = found(machine)
    assert (account.kind, account.processes()) == ("/proc", [PID, 43, 44])
    assert account.cpu_us() == pytest.approx((100 + 50 + 7 + 3 + 15 + 2) * 1e6 / accounting.TICKS_PER_S)
    assert account.memory_bytes() == 1800 * 1024


def test_shared_pages_count_once_where_that_can_be_read(machine: Path) -> None:
    groups(machine, f"3:cpuacct:/docker/{ID}\n")
    (machine / "proc" / str(PID) / "smaps_rollup").write_text("55-7f ---p\nRss: 1000 kB\nPss: 640 kB\nPss_Anon: 1 kB\n")
    assert found(machine).memory_bytes() == 640 * 1024


@pytest.mark.parametrize("text", ["0::/user.slice/somebody\n", None])
def test_another_machines_container_is_a_mistake_and_not_a_figure(machine: Path, text: str | None) -> None:
    if text is not None:
        groups(machine, text)
    with pytest.raises(Mistake, match="on this very machine"):
        found(machine)
