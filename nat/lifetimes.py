"""How long a router remembers a silent mapping, and whose packets refresh it (RFC 4787 §4.3).

A socket for every silence that is tried: it asks the reflector to speak to it after so many seconds, and is silent
itself. So the answer to that question is the mapping's last packet, and whether the promised one arrives says whether
the mapping was alive. One more socket is spoken to all the time: does it outlive the silent ones?

What is measured is a mapping whose packets were all within two seconds, as those of a registration are. Linux remembers
longer what goes on for longer than that.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

from nat.prober import Address, Heard, Prober

# Lifetimes that routers have, in seconds. A silence is tried half way between each and the next.
USUAL = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 35, 40, 45, 50, 60, 75, 90, 120, 150, 180, 240, 300, 420, 600)
EVERY_S = 0.5  # between two packets to the socket that is spoken to
SHORT_S = 6  # the longest lifetime that is measured while a lab waits for it
LIMITS = (0, 600)  # of what `lab measure` tries


@dataclass(slots=True, frozen=True)
class Lifetime:
    """What silences have shown, in seconds."""

    alive: float  # the longest that a mapping survived
    gone: float | None  # the shortest that it did not; None: it survived all
    refresh: str | None  # as in kinds.py; None where that cannot be said

    def holds(self, declared: float) -> bool:
        """Say whether this lifetime is what was measured."""
        return self.alive <= declared and (self.gone is None or declared < self.gone)

    def usual(self) -> int:
        """Return the usual lifetime that lies between, or the longest whole number that was survived."""
        within = [usual for usual in USUAL if self.alive <= usual and self.gone is not None and usual < self.gone]
        return within[0] if within else max(1, int(self.alive))

    def __str__(self) -> str:
        """Say it in words."""
        if self.gone is None:
            return f"a mapping survived {self.alive:g} s of silence, and nothing longer was tried"
        return f"a mapping survived {self.alive:g} s of silence and not {self.gone:g} s"


def silences(limit: float) -> list[float]:
    """Return the silences to try up to `limit` seconds, ascending."""
    halves = [(one + other) / 2 for one, other in itertools.pairwise((0, *USUAL))]
    return [half for half in halves if half <= limit]


def silences_around(declared: int) -> list[float]:
    """Return the two silences that tell whether a lifetime is what it is declared to be."""
    return [0.6 * declared, 1.4 * declared]


def measure(reflectors: list[Address], source: str, tried: Sequence[float]) -> Lifetime:
    """Return what silences of `tried` seconds, ascending, show. Takes not much longer than the lifetime.

    Raises Silence.
    """
    # Every second socket asks at the other address: a router may have few ports for each.
    silent = [(seconds, 2 * (place % 2), Prober(reflectors, source)) for place, seconds in enumerate(tried)]
    spoken_to, clock = Prober(reflectors, source), Prober(reflectors, source)
    try:
        spoken_to.ask(0, ask="speak", by=0, every=EVERY_S, until=tried[-1] + 1)
        begun = time.monotonic()
        for seconds, place, prober in silent:
            prober.ask(place, ask="speak", by=place, after=seconds)
        asked = time.monotonic()
        alive = 0.0
        gone: list[float] = []
        for seconds, place, prober in silent:
            # The promise was given before `asked`: it is kept by now, and before the clock is answered.
            if _is_spoken_to(prober, asked + seconds) or _was_spoken_to(prober, clock, place):
                alive, gone = seconds, []
            else:
                gone.append(seconds)
            if len(gone) == 2:  # one may be a packet that was lost
                break
        refresh = _refresh(spoken_to, clock, time.monotonic() - begun, (alive, gone[0])) if gone else None
        return Lifetime(alive, gone[0] if gone else None, refresh)
    finally:
        for prober in (spoken_to, clock, *(prober for _, _, prober in silent)):
            prober.socket.close()


def _is_spoken_to(prober: Prober, deadline: float) -> bool:
    """Wait for a promised packet."""
    while (left := deadline - time.monotonic()) > 0:
        if _promised(prober.hear(left)):
            return True
    return False


def _was_spoken_to(prober: Prober, clock: Prober, place: int) -> bool:
    """Say whether it has come when a question that was asked later is answered."""
    clock.ask(place, ask="where")
    return bool(_promised(prober.hear()))


def _refresh(spoken_to: Prober, clock: Prober, elapsed: float, bracket: tuple[float, float]) -> str:
    """Say whose packets refresh a mapping: did the one to which only others spoke outlive the silent ones?"""
    clock.ask(0, ask="where")
    last = _promised(spoken_to.hear()) * EVERY_S  # in their order, and after one that is stopped there is none
    return "both" if last > (elapsed + sum(bracket) / 2) / 2 else "outbound"


def _promised(heard: Heard) -> int:
    """Count the promised packets: an answer that came twice is none."""
    return sum("from" in answer and "seen" not in answer for answer, _ in heard)
