"""Calls beside 100,000 bindings and 10,000 calls that are up, what each of them keeps of memory; the bare engine."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from labkit import progress
from labkit.bench import load, report, rounds
from labkit.bench.containers import SCENARIOS, SYSTEM_CPU, Standing, docker
from labkit.bench.load import Job
from labkit.bench.plan import Plan
from labkit.bench.systems import Images, Users
from labkit.bench.work import OURS, Work
from labkit.outcome import LabBroken, say

LOAD_RATE, HOLD_RATE = 1000, 200  # a second: what no system has trouble with
PASSING_S = 40  # longer than a call is kept for its retransmissions: then as many are kept as ever


def measure(
    plan: Plan, standings: Mapping[str, Standing], work: Work, users: Users, empty: Mapping[str, Any]
) -> dict[str, Any]:
    """Load the systems, measure calls beside that, and return the data. `empty` is that of `call`. Raises LabBroken.

    What a call keeps is what is resident with the calls up and was not before, when as many calls a second had come
    and gone: what a system needs while calls come up stays resident in it, and is not theirs.
    """
    kept: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        for name, standing in standings.items():
            before = _memory(standing)
            growth = _bind(standing, users, plan.bindings)
            bound = _memory(standing)
            kept[name] = {
                "bindings": plan.bindings, "calls_up": plan.calls_up, "memory_before": before, "memory_bound": bound,
                "kb_per_binding": round((bound - before) / plan.bindings / 1000, 2), "memory_over_bindings": growth,
            }  # fmt: skip
            passing = rounds.job(work, users, HOLD_RATE, PASSING_S, name, is_timed=False)
            passed = load.run(standing, passing)
            if passed.successful < passed.calls:
                raise LabBroken(f"{name}: {passed.successful} of {passed.calls} calls passed: {passed.fault()}")
            say(f"{work.name}: {name} has {plan.bindings} bindings, and calls have passed")
        time.sleep(rounds.SETTLE_S)  # a call is over when nothing of it waits for retransmissions
        for name, standing in standings.items():
            kept[name]["memory_passed"] = _memory(standing)
            stack.enter_context(load.held(standing, plan.calls_up, HOLD_RATE))
            say(f"{work.name}: {name} has {plan.calls_up} calls up")
        time.sleep(rounds.SETTLE_S)  # the calls are up when nothing of how they came up is left
        for name, standing in standings.items():
            up = _memory(standing)
            each = round((up - kept[name]["memory_passed"]) / plan.calls_up / 1000, 2)
            kept[name] |= {"memory_up": up, "kb_per_call": max(0.0, each)}
        figures = rounds.measure(standings, work, users, plan.rounds, plan.seconds)
    found = report.entry(work, figures)
    for name, more in kept.items():
        found[name] |= more
    ours, before_load = found.get(OURS, {}).get("cpu_us"), empty.get(OURS, {}).get("cpu_us")
    if ours and before_load:
        found["ratio_empty"] = round(ours / before_load, 3)
    return report.compared(found)


def engine_times(images: Images) -> dict[str, Any]:
    """Return the microseconds of the bare engine for each message, on the proxy's own Python. Raises LabBroken."""
    done = docker(
        "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--cpuset-cpus", SYSTEM_CPU,
        "--env", "PYTHONPATH=/srv", "--volume", f"{SCENARIOS}:/bench:ro", images.proxy, images.python, "/bench/mix.py",
        "--time",
    )  # fmt: skip
    if done.returncode != 0:
        raise LabBroken(f"the engine could not be measured: {progress.last_lines(done.stderr)}")
    times: dict[str, float] = json.loads(done.stdout)
    return {"invite_us": times["INVITE"], "us": times}


def _bind(standing: Standing, users: Users, bindings: int) -> list[tuple[int, int]]:
    """Register so many phones; return (bindings, bytes) as it went. Raises LabBroken."""
    result = load.run(standing, Job("uac_binding.xml", LOAD_RATE, bindings, users=users.share(bindings, 0)))
    if result.successful < bindings:
        raise LabBroken(f"{standing.name}: {result.successful} of {bindings} phones registered: {result.fault()}")
    return [(round(at / result.seconds * bindings), size) for at, size in result.memory_bytes if at <= result.seconds]


def _memory(standing: Standing) -> int:
    assert standing.account is not None
    return standing.account.memory_bytes()
