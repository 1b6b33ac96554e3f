"""Deadlines, in the order in which they come (RFC 3261 §17 has few delays and many timers).

Nearly every timer is cancelled before it fires, so starting and cancelling must cost next to nothing. Timers of one
delay end in the order in which they were started: a queue per delay keeps them sorted by itself, without a heap. A
cancelled one leaves its queue at once: what would wait there for Timer C would keep the memory around it for minutes.
The invariant: within a queue deadlines never fall, because `now` does not run back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any


class Timer:
    """One running timer, between its neighbours. `action` is None once it was cancelled or has fired.

    A queue is a ring of timers, and a head that never fires: the earliest comes after it, the latest before it.
    """

    __slots__ = ("action", "after", "argument", "before", "deadline")

    action: Callable[[Any, float], None] | None
    argument: object
    deadline: float
    before: Timer
    after: Timer

    def cancel(self) -> None:
        """Never fire; what it held is let go at once."""
        if self.action is not None:
            before, after = self.before, self.after
            before.after, after.before = after, before
            self.action = self.argument = None
            del self.before, self.after


class Timers:
    """All running timers. `soonest` is the earliest deadline of those started since `next_deadline` was asked for."""

    def __init__(self) -> None:
        self._heads: dict[float, Timer] = {}
        self.soonest = math.inf

    def start(self, now: float, delay: float, action: Callable[[Any, float], None], argument: object) -> Timer:
        """Have `action(argument, now)` called in `delay` seconds. Delays are few: whoever computes one rounds it."""
        try:
            head = self._heads[delay]
        except KeyError:
            head = self._heads[delay] = _queue()
        timer = Timer()
        timer.deadline = deadline = now + delay
        timer.action, timer.argument = action, argument
        if deadline < self.soonest:
            self.soonest = deadline
        last = head.before
        timer.before, timer.after = last, head
        last.after = head.before = timer
        return timer

    def next_deadline(self, lateness: float = 0.0) -> float | None:
        """Return when to `run` next, or None. Timers may be late by that share of their delay: so many fire at once."""
        first, self.soonest = None, math.inf
        for delay, head in list(self._heads.items()):
            if head.after is head:
                del self._heads[delay], head.before, head.after  # it holds itself
                continue
            deadline = head.after.deadline + delay * lateness
            if first is None or deadline < first:
                first = deadline
        return first

    def run(self, now: float) -> None:
        """Call what is due, the earliest first."""
        while True:
            earliest: Timer | None = None
            at = until = math.inf  # when its first is due, and the first of all others
            for head in self._heads.values():
                deadline = head.after.deadline
                if deadline < at:
                    earliest, at, until = head, deadline, at
                elif deadline < until:
                    until = deadline
            if earliest is None or at > now:
                return
            until = min(until, now)
            while (due := earliest.after).deadline <= until:
                action, argument = due.action, due.argument
                assert action is not None  # what is in a queue has one
                due.cancel()
                action(argument, now)

    def __len__(self) -> int:
        """Return how many are running."""
        number = 0
        for head in self._heads.values():
            timer = head.after
            while timer is not head:
                number += 1
                timer = timer.after
        return number


def _queue() -> Timer:
    """Return the head of an empty queue."""
    head = Timer()
    head.before = head.after = head
    head.action, head.deadline = None, math.inf
    return head
