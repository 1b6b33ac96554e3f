"""Deadlines, in the order in which they come (RFC 3261 §17 has few delays and many timers).

Nearly every timer is cancelled before it fires, so starting and cancelling must cost next to nothing. Timers of one
delay end in the order in which they were started: a queue per delay keeps them sorted by itself, without a heap. The
invariant: within a queue deadlines never fall, because `now` does not run back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any


class Timer:
    """One running timer. `action` is None once it was cancelled or has fired."""

    __slots__ = ("action", "argument", "deadline")

    def __init__(self, deadline: float, action: Callable[[Any, float], None], argument: object) -> None:
        self.deadline = deadline
        self.action: Callable[[Any, float], None] | None = action
        self.argument: object = argument

    def cancel(self) -> None:
        """Never fire; what it held is let go at once."""
        self.action = self.argument = None


class Timers:
    """All running timers."""

    def __init__(self) -> None:
        self._queues: dict[float, deque[Timer]] = {}

    def start(self, now: float, delay: float, action: Callable[[Any, float], None], argument: object) -> Timer:
        """Have `action(argument, now)` called in `delay` seconds. Delays are few: whoever computes one rounds it."""
        timer = Timer(now + delay, action, argument)
        queue = self._queues.get(delay)
        if queue is None:
            queue = self._queues[delay] = deque()
        queue.append(timer)
        return timer

    def next_deadline(self) -> float | None:
        """Return when the next timer fires, or None."""
        first = None
        for delay, queue in list(self._queues.items()):
            while queue and queue[0].action is None:
                queue.popleft()
            if not queue:
                del self._queues[delay]
            elif first is None or queue[0].deadline < first:
                first = queue[0].deadline
        return first

    def run(self, now: float) -> None:
        """Call what is due, the earliest first."""
        while True:
            due: Timer | None = None
            for queue in self._queues.values():
                while queue and queue[0].action is None:
                    queue.popleft()
                if queue and queue[0].deadline <= now and (due is None or queue[0].deadline < due.deadline):
                    due = queue[0]
            if due is None or due.action is None:
                return
            action, argument = due.action, due.argument
            due.cancel()
            action(argument, now)

    def __len__(self) -> int:
        """Return how many are running."""
        return sum(timer.action is not None for queue in self._queues.values() for timer in queue)
