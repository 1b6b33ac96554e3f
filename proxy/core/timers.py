"""Deadlines, in the order in which they come (RFC 3261 §17 has few delays and many timers).

Nearly every timer is cancelled before it fires, so starting and cancelling must cost next to nothing. Timers of one
delay end in the order in which they were started: a queue per delay keeps them sorted by itself, without a heap. A
cancelled one leaves its queue at once: what would wait there for Timer C would keep the memory around it for minutes.
The invariant: within a queue deadlines never fall, because `now` does not run back.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

Queue = OrderedDict["Timer", None]


class Timer:
    """One running timer. `action` is None once it was cancelled or has fired."""

    __slots__ = ("action", "argument", "deadline", "queue")

    deadline: float
    action: Callable[[Any, float], None] | None
    argument: object
    queue: Queue | None

    def cancel(self) -> None:
        """Never fire; what it held is let go at once."""
        if self.queue is not None:
            del self.queue[self]
            self.queue = self.action = self.argument = None


class Timers:
    """All running timers."""

    def __init__(self) -> None:
        self._queues: dict[float, Queue] = {}

    def start(self, now: float, delay: float, action: Callable[[Any, float], None], argument: object) -> Timer:
        """Have `action(argument, now)` called in `delay` seconds. Delays are few: whoever computes one rounds it."""
        queue = self._queues.get(delay)
        if queue is None:
            queue = self._queues[delay] = OrderedDict()
        timer = Timer()
        timer.deadline, timer.action, timer.argument, timer.queue = now + delay, action, argument, queue
        queue[timer] = None
        return timer

    def next_deadline(self, lateness: float = 0.0) -> float | None:
        """Return when to `run` next, or None. Timers may be late by that share of their delay: so many fire at once."""
        first = None
        for delay, queue in list(self._queues.items()):
            if not queue:
                del self._queues[delay]
                continue
            deadline = next(iter(queue)).deadline + delay * lateness
            if first is None or deadline < first:
                first = deadline
        return first

    def run(self, now: float) -> None:
        """Call what is due, the earliest first."""
        while True:
            earliest: Queue = OrderedDict()
            at = until = math.inf  # when its first is due, and the first of all others
            for queue in self._queues.values():
                if queue:
                    deadline = next(iter(queue)).deadline
                    if deadline < at:
                        earliest, at, until = queue, deadline, at
                    elif deadline < until:
                        until = deadline
            if at > now:
                return
            until = min(until, now)
            while earliest and (due := next(iter(earliest))).deadline <= until:
                action, argument = due.action, due.argument
                assert action is not None  # what is in a queue has one
                due.cancel()
                action(argument, now)

    def __len__(self) -> int:
        """Return how many are running."""
        return sum(map(len, self._queues.values()))
