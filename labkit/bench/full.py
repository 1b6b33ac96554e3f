"""The measurements of one run, in their order; a kind of work after the other."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from labkit.bench import limits, loaded, report, rounds, sharing
from labkit.bench.containers import docker
from labkit.bench.plan import APART, ONE_WORKER, Plan, standing
from labkit.bench.systems import Images, Users
from labkit.bench.work import OURS, WORKS, Work

IMPLEMENTATION = "import platform as it; print(it.python_implementation(), it.python_version())"


def measure(plan: Plan, keep: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Do all of it, and return the result as bench.json has it; what there is so far is kept. Raises LabBroken."""
    users = Users.make(plan.project)
    result: dict[str, Any] = {"run": described(plan)}
    try:
        for name in plan.works:
            result[name] = _one(plan, plan.work(name), users, result)
            keep(result)
        if not plan.is_quick:
            result |= limits.of_sipp(plan, users)
            result["workers"] = {OURS: sharing.measure(plan, users)}
            result["engine"] = {OURS: loaded.engine_times(plan.images)}
    finally:
        users.remove()
    result["run"]["not_measured"] = not_measured(plan, result)
    return result


def _one(plan: Plan, work: Work, users: Users, result: dict[str, Any]) -> dict[str, Any]:
    with ExitStack() as stack:
        standings = {
            system: stack.enter_context(standing(plan, system, work, users, ONE_WORKER, APART))
            for system in work.rates
        }
        if work.is_loaded:
            return loaded.measure(plan, standings, work, users, result.get("call", {}))
        found = report.entry(work, rounds.measure(standings, work, users, plan.rounds, plan.seconds))
    if not plan.is_quick:
        limits.add(plan, work, users, found)
    return report.compared(found)


def described(plan: Plan) -> dict[str, Any]:
    """Return what one has to know of this run: the machine, the versions, the command."""
    return {
        "command": " ".join(["./lab", *sys.argv[1:]]),
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "quick": plan.is_quick,
        "rounds": plan.rounds,
        "seconds_a_round": plan.seconds,
        "load_average": os.getloadavg()[0],  # before anything was measured: what else this machine does
        "machine": {
            "processor": _processor(), "processors": os.cpu_count(), "architecture": platform.machine(),
            "kernel": platform.release(), "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "docker": docker("version", "--format", "{{.Server.Version}}").stdout.strip(),
        },
        "versions": _versions(plan.images),
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _versions(images: Images) -> dict[str, str]:
    asked = {
        "the proxy's": (images.proxy, f"{images.python} -c '{IMPLEMENTATION}'"),
        "Kamailio": (images.peers, "kamailio -v | sed -n 's/^version: kamailio //p'"),
        "Sippy": (images.peers, "basename /opt/sippy/sippy-*.dist-info .dist-info | cut -d- -f2"),
        "rtpengine": (images.peers, "dpkg-query -Wf '${Version}' rtpengine-daemon"),
        "SIPp": (images.phone, "sipp -v | grep -o 'v[0-9][0-9.]*' | head -1"),
        "valgrind": (images.peers, "valgrind --version | cut -d- -f2"),
    }
    return {
        name: docker("run", "--rm", "--network", "none", image, "sh", "-c", command).stdout.strip()
        for name, (image, command) in asked.items()
    }


def not_measured(plan: Plan, result: dict[str, Any]) -> list[str]:
    """Return what was left out, and why: nothing is skipped in silence."""
    left = [f"{name}: not asked for (--work)" for name in WORKS if name not in result and not plan.is_quick]
    if plan.is_quick:
        left.append(f"--quick: everything but CPU and latency of {plan.works[0]} at one rate")
        return left
    for name in plan.works:
        left += [
            f"{name}, {system}: highest rate" for system in plan.work(name).rates
            if result[name].get(system, {}).get("max_rate") is None
        ]  # fmt: skip
    return left
