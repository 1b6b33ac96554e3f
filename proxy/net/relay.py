"""Media passed on: the sessions that are relayed, their ports, and the turns in which packets pass.

The invariant: what the engine opened is open until it closes it, and nothing that comes from the network ends a turn.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from proxy.core.effects import CloseRelay, OpenRelay, SteerRelay
from proxy.net.rtp import STRANGER_BUFFER_BYTES, End, bound

# After packets have come we look again 2 ms later, and not at the next one: a packet more or less late by that is not
# heard, and to be woken costs more than to pass one on.
PACE_S = 0.002
EVENTS = 1024  # ports with packets that are looked at in one turn
ROUNDS = 8  # packets a turn, of a party: a picture of a video is a hundred at once, 4000/s are nobody's
REST_S = 0.1  # so long are strangers not heard who have sent too much
LOOK_S = 1.0  # how often silence is looked for


class Section:
    """One media section of a session: ends for RTP and RTCP that face each side."""

    __slots__ = ("kind", "rtcp", "rtp")

    def __init__(self, kind: bytes, rtp: tuple[End, End], rtcp: tuple[End, End]) -> None:
        self.kind = kind
        self.rtp, self.rtcp = rtp, rtcp
        for one, other in (rtp, rtcp):
            one.other, other.other = other, one
        for one, other in zip(rtp, rtcp, strict=True):
            one.companion = other

    @property
    def ends(self) -> tuple[End, ...]:
        """All four."""
        return *self.rtp, *self.rtcp


class Call:
    """One session: its sections, by their number."""

    __slots__ = ("call_id", "opened", "sections")

    def __init__(self, call_id: bytes, now: float) -> None:
        self.call_id = call_id
        self.opened = now
        self.sections: dict[int, Section] = {}

    def summary(self) -> dict[str, object]:
        """Return what has passed in a session: for each side what it sent, over all its sections."""
        now = time.monotonic()
        told: dict[str, object] = {"seconds": round(now - self.opened, 1)}
        for who, name in enumerate(("caller", "callee")):
            sent = [section.rtp[who].direction for section in self.sections.values()]
            seen = max((each.seen for each in sent), default=0)
            told |= {
                f"{name}_packets": sum(each.packets for each in sent),
                f"{name}_bytes": sum(each.bytes for each in sent),
                f"{name}_lost": sum(each.lost for each in sent),
                f"{name}_jitter_ms": round(max((each.jitter_ms for each in sent), default=0), 1),
                f"{name}_last_s": round(now - seen, 1) if seen else "never",
            }
        told["strangers"] = sum(end.strangers for section in self.sections.values() for end in section.ends)
        return told

    def last_seen(self) -> float:
        """Return when the last packet came, or when the session began."""
        return max((end.direction.seen for section in self.sections.values() for end in section.ends), default=0)


class Relay:
    """All sessions, on one event loop.

    `bind` says on which address of this machine an advertised one is bound. `silent(session)` is called when nothing
    has come for `timeout_s`; `log(name, fields)` gets events, `strange` those that strangers cause.
    """

    def __init__(
        self, loop: AbstractEventLoop, bind: Callable[[str], str], timeout_s: float, silent: Callable[[int], None],
        log: Callable[[str, dict[str, object]], None], strange: Callable[[str, dict[str, object]], None],
    ) -> None:  # fmt: skip
        self.calls: dict[int, Call] = {}
        self.readers: dict[int, Callable[[], None]] = {}  # by file descriptor
        self.parties: dict[int, Callable[[], None]] = {}  # of them, those that nobody but a party can send to
        self.now = time.monotonic()  # as of this turn
        self.unsent = self.strangers = 0
        self.ended: dict[str, int] = {}  # what the parties of sessions that are over have sent
        self._loop = loop
        self._bind = bind
        self._timeout_s = timeout_s
        self._silent = silent
        self._log, self._strange = log, strange
        self._epoll = select.epoll()
        self._resting: list[End] = []
        self._timer: TimerHandle | None = None
        self._look: TimerHandle | None = None
        loop.add_reader(self._epoll, self._turn)

    # What the engine wants

    def open(self, wanted: OpenRelay) -> list[int]:
        """Open the ports of a section. Returns those that somebody else has; then none is open.

        Raises OSError where it is not for the ports: then none is open either.
        """
        made: list[End] = []
        refused: list[int] = []
        for host, port in wanted.here:
            for number in (port, port + 1):
                try:
                    made.append(End(self, wanted.call_id, (self._bind(host), number), wanted.rate))
                except OSError as error:
                    if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                        _close(made)
                        raise
                    refused.append(port)
        if refused:
            _close(made)
            return refused
        call = self.calls.get(wanted.session)
        if call is None:
            call = self.calls[wanted.session] = Call(wanted.call_id, time.monotonic())
        call.sections[wanted.section] = Section(wanted.kind, (made[0], made[2]), (made[1], made[3]))
        for end in made:
            self._watch(end.own, end.listen)
        if self._look is None:
            self._look = self._loop.call_later(LOOK_S, self._look_around)
        return []

    def steer(self, told: SteerRelay) -> None:
        """Take where the media of one side comes from and is wanted."""
        call = self.calls.get(told.session)
        section = None if call is None else call.sections.get(told.section)
        if section is not None:  # else its ports were somebody else's
            section.rtp[told.side].steer(told.hosts, told.rtp, told.is_fixed)
            section.rtcp[told.side].steer(told.hosts, told.rtcp, told.is_fixed)
            for end in section.rtp:
                end.direction.set_rate(told.rate)

    def close(self, wanted: CloseRelay) -> None:
        """Close a session, and log what passed."""
        call = self.calls.pop(wanted.session, None)
        if call is None:
            return
        for name, count in _totals([call]).items():
            self.ended[name] = self.ended.get(name, 0) + count
        self._log("media-ended", {"call_id": call.call_id, "why": wanted.why, **call.summary()})
        for section in call.sections.values():
            _close(section.ends)

    def close_all(self) -> None:
        """Close everything: the proxy stops."""
        for session in list(self.calls):
            self.close(CloseRelay(session, "stopped"))
        for timer in (self._timer, self._look):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._epoll)
        self._epoll.close()

    # What ends need

    def twin(self, end: End) -> socket.socket:
        """Return a second socket on the port of an end, which hears whomever the first one is not connected to."""
        strays = bound(end.own.getsockname()[:2], STRANGER_BUFFER_BYTES)
        self._watch(strays, end.hear_strangers)
        return strays

    def known(self, end: End) -> None:
        """An end has nothing in its queue any more that is not its party's."""
        number = end.own.fileno()
        self.readers[number] = self.parties[number] = end.pass_on

    def rest(self, end: End) -> None:
        """Strangers send more than we want to hear: what comes in the next while is dropped by the kernel."""
        assert end.strays is not None
        self._epoll.unregister(end.strays)
        self._resting.append(end)
        if len(self._resting) == 1:
            self._loop.call_later(REST_S, self._rested)

    def _rested(self) -> None:
        resting, self._resting = self._resting, []
        for end in resting:
            if end.strays is not None and end.strays.fileno() >= 0:
                self._epoll.register(end.strays, select.EPOLLIN)

    def moved(self, end: End) -> None:
        """A party is heard from another place: its RTCP may come from there too."""
        assert end.source is not None
        rtcp = end.companion
        rtcp.hosts |= {end.source[0]}
        rtcp.may_relearn = rtcp.source is not None
        self._log("media-moved", {"call_id": end.call_id, "to": "%s:%d" % end.source})

    def report(self, end: End, source: Sequence[Any]) -> None:
        """Say once of each port that strangers send to it."""
        port = end.own.getsockname()[1]
        self._strange("media-refused", {"call_id": end.call_id, "port": port, "source": "%s:%d" % tuple(source[:2])})

    def _watch(self, own: socket.socket, reader: Callable[[], None]) -> None:
        self.readers[own.fileno()] = reader
        self._epoll.register(own, select.EPOLLIN)

    # Turns

    def _turn(self) -> None:
        """Packets have come: pass them on, and look again in a while, as long as there are any."""
        self.now = time.monotonic()
        ready = self._epoll.poll(0, EVENTS)
        try:
            again, readers = ready, self.readers
            for _ in range(ROUNDS):
                for number, _ in again:
                    reader = readers.get(number)
                    if reader is not None:  # else it was closed within this turn
                        reader()
                again, readers = self._epoll.poll(0, EVENTS), self.parties  # strangers wait for the next turn
                if not again:
                    break
        finally:
            self._look_again(bool(ready))

    def _look_again(self, is_busy: bool) -> None:
        if is_busy:
            if self._timer is None:
                self._loop.remove_reader(self._epoll)
            self._timer = self._loop.call_later(PACE_S, self._turn)
        elif self._timer is not None:
            self._timer = None
            self._loop.add_reader(self._epoll, self._turn)

    def _look_around(self) -> None:
        """Find sessions that nobody uses any more."""
        self._look = self._loop.call_later(LOOK_S, self._look_around) if self.calls else None
        now = time.monotonic()
        for session, call in list(self.calls.items()):
            if now - max(call.last_seen(), call.opened) > self._timeout_s:
                self._silent(session)

    # What is told

    def counts(self) -> dict[str, float]:
        """Return what /metrics shows."""
        totals = _totals(self.calls.values())
        sections = [section for call in self.calls.values() for section in call.sections.values()]
        jitters = [end.direction.jitter_ms / 1000 for section in sections for end in section.rtp]
        return {
            **{name: totals.get(name, 0) + self.ended.get(name, 0) for name in (*totals, *self.ended)},
            "relay-strangers": self.strangers,
            "relay-unsent": self.unsent,
            "relay-sessions": len(self.calls),
            "relay-jitter-seconds": max(jitters, default=0.0),
        }


def _totals(calls: Any) -> dict[str, int]:
    totals: dict[str, int] = {}
    for call in calls:
        for section in call.sections.values():
            for name, end in zip(("caller", "callee"), section.rtp, strict=True):
                sent = end.direction
                for what, count in (("packets", sent.packets), ("bytes", sent.bytes), ("lost", sent.lost)):
                    key = f"relay-{name}-{what}"
                    totals[key] = totals.get(key, 0) + count
    return totals


def _close(ends: Iterable[End]) -> None:
    for end in ends:
        end.close()
