"""The highest rate at which a system is clean, found by bisection."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

STEP = 1.5  # from one rate to the next until there is one on each side
RESOLUTION = 1.05  # between the highest that was clean and the lowest that was not
NO_HIGHER = "no higher rate was tried"
ATTEMPTS = 2  # a rate is too high when it was so twice: the machine may have had something else to do


@dataclass(slots=True)
class Found:
    """The highest clean rate, 0 where none was, and why the next one was not."""

    rate: int
    why: str
    trials: list[tuple[int, str]] = field(default_factory=list)  # a rate, and its fault, "" for none


def highest(fault: Callable[[int], str], start: int, least: int, most: int) -> Found:
    """Return the highest rate without a fault. `fault` tries a rate and says what was wrong, "" for nothing.

    Above `most` nothing is tried, and below `least` neither.
    """
    trials: list[tuple[int, str]] = []

    def tried(rate: int) -> str:
        why = ""
        for _ in range(ATTEMPTS):
            why = fault(rate)
            trials.append((rate, why))
            if not why:
                return ""
        return why

    clean, unclean, why = 0, 0, ""
    rate = max(least, min(start, most))
    while True:
        said = tried(rate)
        if said:
            unclean, why = rate, said
        else:
            clean = rate
        if clean == most:
            return Found(clean, NO_HIGHER, trials)
        if unclean == least:
            return Found(0, why, trials)
        if clean and unclean:
            break
        rate = min(most, math.ceil(rate * STEP)) if clean else max(least, math.floor(rate / STEP))
    while unclean > clean * RESOLUTION and unclean - clean > 1:
        rate = min(max(round(math.sqrt(clean * unclean)), clean + 1), unclean - 1)
        said = tried(rate)
        if said:
            unclean, why = rate, said
        else:
            clean = rate
    return Found(clean, why, trials)
