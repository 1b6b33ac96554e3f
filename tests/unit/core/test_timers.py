"""Deadlines in their order (RFC 3261 §17)."""

from __future__ import annotations

import gc
import time
import tracemalloc
import weakref

from proxy.core.timers import Timer, Timers


class Clock:
    """Timers that write down what they call."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.called: list[tuple[object, float]] = []

    def start(self, now: float, delay: float, name: object) -> Timer:
        return self.timers.start(now, delay, self.call, name)

    def call(self, name: object, now: float) -> None:
        self.called.append((name, now))

    def run(self, now: float) -> list[object]:
        """Return the names of what was called."""
        self.called.clear()
        self.timers.run(now)
        assert all(at == now for _, at in self.called)
        return [name for name, _ in self.called]


def test_what_is_due_is_called_the_earliest_first_whatever_its_delay() -> None:
    clock = Clock()
    clock.start(0.0, 4.0, "4")
    clock.start(0.0, 1.0, "1")
    clock.start(0.0, 2.0, "2")
    clock.start(0.5, 1.0, "1.5")
    clock.start(3.5, 0.25, "3.75")
    assert clock.run(0.99) == []
    assert clock.run(1.0) == ["1"]
    assert clock.run(3.9) == ["1.5", "2", "3.75"]
    assert clock.run(4.0) == ["4"]
    assert clock.run(1000.0) == []


def test_timers_of_one_deadline_and_delay_fire_in_the_order_of_their_start() -> None:
    clock = Clock()
    for number in range(5):
        clock.start(0.0, 1.0, number)
    assert clock.run(1.0) == list(range(5))


def test_the_next_deadline_is_the_earliest_of_those_that_run() -> None:
    clock = Clock()
    assert clock.timers.next_deadline() is None
    clock.start(10.0, 4.0, "late")
    early = clock.start(11.0, 1.0, "early")
    assert clock.timers.next_deadline() == 12.0
    early.cancel()
    assert clock.timers.next_deadline() == 14.0
    clock.run(14.0)
    assert clock.timers.next_deadline() is None


def test_timers_that_may_be_late_wake_us_once_for_many() -> None:
    clock = Clock()
    for number in range(10):
        clock.start(number / 16, 32.0, number)
    clock.start(0.0, 1.0, "soon")
    assert clock.timers.next_deadline(1 / 32) == 1 + 1 / 32
    assert clock.run(1 + 1 / 32) == ["soon"]
    assert clock.timers.next_deadline(1 / 32) == 33.0
    assert clock.run(33.0) == list(range(10))


def test_a_cancelled_timer_never_fires_and_may_be_cancelled_twice() -> None:
    clock = Clock()
    first, second, _ = (clock.start(0.0, 1.0, number) for number in range(3))
    second.cancel()
    second.cancel()
    assert len(clock.timers) == 2
    assert clock.run(2.0) == [0, 2]
    first.cancel()  # it has fired: too late, and no harm
    assert len(clock.timers) == 0


def test_what_a_cancelled_timer_held_is_let_go_at_once() -> None:
    class Held:
        pass

    clock, held = Clock(), Held()
    witness = weakref.ref(held)
    timer = clock.start(0.0, 1000.0, held)
    del held
    gc.collect()
    assert witness() is not None
    timer.cancel()
    gc.collect()
    assert witness() is None


def test_an_action_may_start_and_cancel_timers() -> None:
    timers = Timers()
    called: list[str] = []
    victim = timers.start(0.0, 1.0, lambda name, now: called.append(name), "victim")

    def act(left: int, now: float) -> None:
        called.append(f"{left} left")
        victim.cancel()
        if left:
            timers.start(now, 0.5, act, left - 1)

    timers.start(0.0, 0.5, act, 2)
    timers.run(0.5)
    timers.run(10.0)  # the clock jumped: what is started now is due half a second later, not in the past
    assert called == ["2 left", "1 left"]
    assert timers.next_deadline() == 10.5
    timers.run(10.5)
    assert called[2:] == ["0 left"]
    assert timers.next_deadline() is None


def test_a_timer_that_an_earlier_one_cancels_in_the_same_run_does_not_fire() -> None:
    timers = Timers()
    called: list[str] = []
    victim = timers.start(0.0, 2.0, lambda name, now: called.append(name), "victim")
    timers.start(0.0, 1.0, lambda timer, now: timer.cancel(), victim)
    timers.run(5.0)
    assert called == []
    assert victim.action is None


def test_delays_that_are_over_leave_nothing_behind() -> None:
    timers = Timers()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        started = [timers.start(0.0, 1.0 + number / 64, lambda name, now: None, None) for number in range(1000)]
        most = tracemalloc.get_traced_memory()[0] - before
        for timer in started[::2]:
            timer.cancel()
        timers.run(1000.0)
        assert timers.next_deadline() is None
        del started, timer
        gc.collect()
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert left < most / 5


def test_a_hundred_thousand_timers_that_are_started_and_cancelled_cost_next_to_nothing() -> None:
    clock = Clock()
    keeper = clock.start(0.0, 64.0, "keeper")
    begin = time.process_time()
    for number in range(100_000):
        now = number / 10_000
        timer = clock.start(now, 0.5, number)
        clock.start(now, 32.0, number).cancel()
        assert clock.timers.next_deadline() == now + 0.5
        timer.cancel()
    cost = time.process_time() - begin
    assert clock.timers.next_deadline() == keeper.deadline
    assert len(clock.timers) == 1
    assert clock.run(100.0) == ["keeper"]
    assert cost < 10  # it takes a fifth of a second; were each of them to look at all others, minutes
