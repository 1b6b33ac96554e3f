"""What is to be measured, and the systems that stand for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from labkit.bench.containers import BOTH, LOAD_CPU, SYSTEM_CPU, Standing, pod, serving
from labkit.bench.systems import Images, Users, program
from labkit.bench.work import KAMAILIO, OTHER, OURS, RTPENGINE, WORKS, Work

ONE_WORKER, TWO_WORKERS = 1, 2  # CPU is measured with one; for the highest rate on two cores there are two
APART, TOGETHER = (SYSTEM_CPU, LOAD_CPU), (BOTH, BOTH)  # the cores of a system, and of SIPp


@dataclass(slots=True, frozen=True)
class Plan:
    """What is to be measured, and how long."""

    project: str
    images: Images
    works: Sequence[str]
    rounds: int
    seconds: int
    rate: int  # 0: as the work has it
    is_quick: bool
    bindings: int  # of call-loaded
    calls_up: int

    def work(self, name: str) -> Work:
        """Return a kind of work, with the rate that was asked for."""
        found = WORKS[name]
        rates = {system: self.rate or rate for system, rate in found.rates.items()}
        if self.is_quick:
            rates = {system: rate for system, rate in rates.items() if system in (OURS, KAMAILIO, RTPENGINE)}
        if self.images.other:
            rates[OTHER] = rates[OURS]
        return replace(found, rates=rates)


@contextmanager
def standing(
    plan: Plan, system: str, work: Work, users: Users, workers: int, cores: tuple[str, str], name: str = ""
) -> Iterator[Standing]:
    """A system that serves in a pod of its own, under its own name or another."""
    own, other = cores
    with pod(plan.project, name or system, plan.images.phone, other, users.volume) as inside:
        runs = program(system, work, plan.images, users, workers)
        with serving(plan.project, name or system, runs, inside, own, work.transport) as found:
            yield found
