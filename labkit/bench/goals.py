"""The goals, in one place: what is wanted, what it has to be at least, and where in a result the measured value is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MET, ENOUGH, MISSED, UNKNOWN = "met", "enough", "missed", "not measured"


@dataclass(slots=True, frozen=True)
class Goal:
    """One goal. `path` leads to the value in bench.json; where more is better, less than `least` is a miss."""

    what: str
    path: tuple[str, ...]
    wanted: float
    least: float
    unit: str
    is_more_better: bool = False

    def measured(self, result: Mapping[str, Any]) -> float | None:
        """Return the value, None where it was not measured."""
        found: Any = result
        for key in self.path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return None if found is None else float(found)

    def verdict(self, value: float | None) -> str:
        """Say how a value stands to the goal."""
        if value is None:
            return UNKNOWN
        sign = -1 if self.is_more_better else 1
        if sign * value <= sign * self.wanted:
            return MET
        return ENOUGH if sign * value <= sign * self.least else MISSED


GOALS = (
    Goal("call by UDP: CPU, of Kamailio's", ("call", "ratio_cpu"), 1.0, 1.5, "×"),
    Goal("call by UDP: highest rate, of Kamailio's", ("call", "ratio_rate"), 1.0, 0.7, "×", is_more_better=True),
    Goal("call by UDP with two workers: CPU, of that with one", ("workers", "ours", "ratio_cpu"), 1.18, 1.18, "×"),
    Goal("two workers: what one does beyond its share", ("workers", "ours", "apart"), 0.1, 0.1, "of it"),
    Goal("call by TCP: CPU, of Kamailio's", ("call-tcp", "ratio_cpu"), 1.0, 1.5, "×"),
    Goal("registration, written behind: CPU, of Kamailio's", ("register-behind", "ratio_cpu"), 1.5, 3.0, "×"),
    Goal("registration, on disk before the 200: CPU, of Kamailio's", ("register-through", "ratio_cpu"), 0.3, 0.5, "×"),
    Goal("registration, on disk before the 200: highest rate, of Kamailio's", ("register-through", "ratio_rate"),
         2.0, 1.0, "×", is_more_better=True),
    Goal("call with 100,000 bindings and 10,000 calls up: CPU, of that without", ("call-loaded", "ratio_empty"),
         1.1, 1.2, "×"),
    Goal("memory of an idle binding", ("call-loaded", "ours", "kb_per_binding"), 1.0, 2.0, "kB"),
    Goal("memory of an established call", ("call-loaded", "ours", "kb_per_call"), 0.0, 0.5, "kB"),
    Goal("media passed on: CPU of a packet, of rtpengine's", ("relay", "ratio_cpu"), 1.0, 1.5, "×"),
    Goal("engine: INVITE in to effects out", ("engine", "ours", "invite_us"), 40.0, 60.0, "µs"),
)  # fmt: skip


def rows(result: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Return (what, measured, wanted, at least, verdict) of every goal, in words."""
    found = []
    for goal in GOALS:
        value = goal.measured(result)
        sign = "≥" if goal.is_more_better else "≤"
        measured = "–" if value is None else f"{_number(value)} {goal.unit}"
        wanted, least = (f"{sign} {_number(limit)} {goal.unit}" for limit in (goal.wanted, goal.least))
        found.append((goal.what, measured, wanted, least, goal.verdict(value)))
    return found


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
