"""What it costs that two workers are one proxy, and how evenly they share the calls."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from labkit.bench import rounds
from labkit.bench.plan import ONE_WORKER, TOGETHER, TWO_WORKERS, Plan, standing
from labkit.bench.systems import Users
from labkit.bench.work import OURS, WORKS
from labkit.outcome import say

ONE, TWO = "one-worker", "two-workers"
RATE = 800  # a second: what one worker still does, and two are not needed for


def measure(plan: Plan, users: Users) -> dict[str, Any]:
    """Return the CPU of a call with one worker and with two, at one rate, and each worker's share of the work."""
    work = replace(WORKS["call"], rates={ONE: RATE, TWO: RATE})
    with ExitStack() as stack:
        standings = {
            name: stack.enter_context(standing(plan, OURS, work, users, workers, TOGETHER, name))
            for name, workers in ((ONE, ONE_WORKER), (TWO, TWO_WORKERS))
        }
        figures = rounds.measure(standings, work, users, plan.rounds, plan.seconds)
        account = standings[TWO].account
        assert account is not None  # it is a system
        used = account.cpu_us_by_process()
    faults = [fault for name in (ONE, TWO) for fault in figures[name].faults]
    if not all(figures[name].cpu_us for name in (ONE, TWO)):
        return {"rate": RATE, "faults": faults}
    one, two = (statistics.median(figures[name].cpu_us) for name in (ONE, TWO))
    shares = [each / sum(used) for each in used]
    apart = max(shares) * len(shares) - 1
    say(f"two workers: {two:.1f} µs a call, one {one:.1f}; one does {apart:.1%} more than its share")
    return {
        "rate": RATE, "cpu_us_one": round(one, 1), "cpu_us_two": round(two, 1), "ratio_cpu": round(two / one, 3),
        "shares": [round(share, 3) for share in shares], "apart": round(apart, 3), "faults": faults,
    }  # fmt: skip
