"""The highest clean rates, the latency at half of them, and what SIPp itself can do."""

from __future__ import annotations

from functools import partial
from typing import Any

from labkit.bench import load, rounds, search
from labkit.bench.containers import BOTH, Standing, pod
from labkit.bench.load import Job, Result
from labkit.bench.plan import TOGETHER, TWO_WORKERS, Plan, standing
from labkit.bench.systems import Users
from labkit.bench.work import WORKS, Work
from labkit.outcome import say

TRIAL_S = 20
LEAST, MOST = 20, 20_000
CURVE = (0.2, 0.4, 0.6, 0.8, 1.0)  # of the highest rate
CURVE_S = 10
FIRST_GUESS = 0.7  # of what one processor could do at the measured CPU


def add(plan: Plan, work: Work, users: Users, found: dict[str, Any]) -> None:
    """Add to a kind of work's data its highest rates and what depends on them."""
    for system in work.rates:
        figures = found[system]
        guess = round(FIRST_GUESS * 1e6 / figures["cpu_us"]) if figures["cpu_us"] else work.rates[system]
        highest = search.highest(partial(_fault, plan, system, work, users), guess, LEAST, MOST)
        figures |= {"max_rate": highest.rate, "max_rate_why": highest.why, "max_rate_trials": highest.trials}
        say(f"{work.name}: {system} is clean up to {highest.rate} a second; then {highest.why}")
        if not highest.rate:
            continue
        half = max(1, highest.rate // 2)
        at_half = _trial(plan, system, work, users, half, is_timed=True)
        figures["latency_rate"] = half
        figures |= {part: getattr(at_half, part) for part in ("p50_ms", "p95_ms", "p99_ms")}
        if fault := at_half.fault():
            figures["faults"].append(f"at {half}/s: {fault}")
        if work.name == "call":
            figures["curve"] = _curve(plan, system, work, users, highest.rate)


def of_sipp(plan: Plan, users: Users) -> dict[str, Any]:
    """Return what SIPp does when it calls SIPp, by UDP: its ceiling, so that nobody takes it for a proxy's."""
    work = WORKS["call"]

    def direct(rate: int, *, is_timed: bool = False) -> Result:
        with pod(plan.project, "direct", plan.images.phone, BOTH, users.volume) as inside:
            job = rounds.job(work, users, rate, TRIAL_S, "direct", is_timed=is_timed, abort=True)
            assert isinstance(job, Job)
            job.target = f"127.0.0.1:{job.callee_port}"
            return load.run(Standing("direct", inside, None), job)

    highest = search.highest(lambda rate: direct(rate).fault(), 2000, LEAST, MOST)
    say(f"SIPp calls SIPp at up to {highest.rate} a second; then {highest.why}")
    found: dict[str, Any] = {"max_rate": highest.rate, "max_rate_why": highest.why, "max_rate_trials": highest.trials}
    if highest.rate:
        half = max(1, highest.rate // 2)
        at_half = direct(half, is_timed=True)
        found |= {"latency_rate": half, "p50_ms": at_half.p50_ms, "p95_ms": at_half.p95_ms, "p99_ms": at_half.p99_ms}
    return {"direct": {"what": "SIPp calls SIPp, without a proxy", "sipp": found}}


def _fault(plan: Plan, system: str, work: Work, users: Users, rate: int) -> str:
    return _trial(plan, system, work, users, rate).fault()


def _trial(plan: Plan, system: str, work: Work, users: Users, rate: int, *, is_timed: bool = False) -> Result:
    """Try a rate on a fresh system, on both cores: what an earlier trial broke is not this one's fault."""
    with standing(plan, system, work, users, TWO_WORKERS, TOGETHER) as found:
        users.given = 0  # it knows no phone yet
        load.run(found, rounds.warm_up(work, users, min(rate, work.rates[system]), system))
        return load.run(found, rounds.job(work, users, rate, TRIAL_S, system, is_timed=is_timed, abort=not is_timed))


def _curve(plan: Plan, system: str, work: Work, users: Users, highest: int) -> list[dict[str, Any]]:
    """Return CPU and latency at several rates, on both cores as the highest was found."""
    points = []
    with standing(plan, system, work, users, TWO_WORKERS, TOGETHER) as found:
        load.run(found, rounds.warm_up(work, users, work.rates[system], system))
        for part in CURVE:
            rate = max(1, round(part * highest))
            result = load.run(found, rounds.job(work, users, rate, CURVE_S, system))
            points.append({
                "rate": rate, "cpu_us": round(result.cpu_us / max(1, result.successful), 1), "p50_ms": result.p50_ms,
                "p95_ms": result.p95_ms, "p99_ms": result.p99_ms, "fault": result.fault(),
            })  # fmt: skip
    return points
