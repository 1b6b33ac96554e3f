"""Runs the engine on real sockets and a real clock: messages in, effects out, until a signal ends it.

The invariant: the engine is entered from the event loop only, by one call at a time, and its effects are carried out in
their order. With a journal that is written before the answer, whatever follows a Save in one list waits for it. Where
several processes are one proxy, each has a shell and an engine of its own, and `team` knows what is whose.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import resource
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from proxy.core.effects import CloseRelay, Effect, Forget, Locate, Note, OpenRelay, Save, Send, SteerRelay
from proxy.core.engine import Engine
from proxy.core.flow import Address, Flow
from proxy.log import Log
from proxy.metrics import render, total
from proxy.net.hep import Mirror
from proxy.net.http import PLAIN, Http, Page
from proxy.net.relay import Relay
from proxy.net.resolver import NoAnswer, NoSuchHost, Resolver
from proxy.net.store import Store
from proxy.net.stream import Streams
from proxy.net.team import Team, TeamJournal
from proxy.net.udp import UdpSocket
from proxy.sip.memory import remembered_by_parts

STRANGERS = frozenset(("message-dropped", "request-refused", "wrong-password"))
# Of its delay, that a timer may be late. A call leaves four transactions behind, and each would wake us when it ends:
# so all that end within an eighth of a second, after 32, end at once. A retransmission comes 2 ms late.
LATENESS = 1 / 256
MOST_SHOWN = 1000  # bindings on /registrations, calls on /media
MOST_CALL_ID = 256  # bytes of a Call-ID there


class Shell:
    """Carries out what the engine wants."""

    def __init__(
        self, engine: Engine, log: Log, resolver: Resolver, store: Store | TeamJournal | None, durable_first: bool
    ) -> None:
        self.engine = engine
        self.team: Team | None = None  # the other processes
        self.end_others: Callable[[], Coroutine[Any, Any, None]] | None = None  # set where this one leads them
        self.reload: Callable[[], list[str]] = list
        self.streams: Streams | None = None
        self.http: Http | None = None
        self.relay: Relay | None = None
        self.mirror: Mirror | None = None
        self._log = log
        self._resolver = resolver
        self._store = store
        self._durable_first = durable_first
        self._udp: dict[Address, UdpSocket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = math.inf  # of the engine: when the timer fires
        self._loop = asyncio.get_running_loop()
        self._epoch = time.time() - time.monotonic()
        self._started = time.time()
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        own = store.own if isinstance(store, TeamJournal) else store
        if own is not None:
            own.hand_over = self._from_writer

    def now(self) -> float:
        """Return Unix seconds, of a clock that does not run back."""
        return self._epoch + time.monotonic()

    # In

    def add_udp(self, udp: UdpSocket, local: Address) -> None:
        """Serve a socket whose advertised address is `local`."""
        self._udp[local] = udp

    def receive(self, data: bytes, flow: Flow) -> None:
        """Take one message from the network."""
        if self.mirror is not None:
            self.mirror.received(data, flow, self.now())
        if self.team is None or not self.team.passes_on(data, flow):
            self.see_to(data, flow)

    def see_to(self, data: bytes, flow: Flow) -> None:
        """Give one message to the engine."""
        try:
            self._carry_out(self.engine.receive(data, flow, self.now()))
        except Exception as error:
            self.survive("receive", flow, error)

    def failed(self, token: bytes) -> None:
        """Tell the engine that something could not be sent."""
        if self.team is not None and self.team.failed(token):
            return
        self._enter(token, self.engine.failed, token)
        self.arm()

    def _enter(self, about: object, step: Callable[..., list[Effect]], *given: object) -> None:
        """Enter the engine and carry out what follows. A failure of ours costs this step, not the proxy."""
        try:
            self._carry_out(step(*given, self.now()))
        except Exception as error:
            self.survive(step.__name__, about, error)

    def survive(self, step: str, about: object, error: Exception) -> None:
        """The engine never raises; should it all the same, all others are still served."""
        self.engine.counts["internal-errors"] += 1
        self._log.strange("internal-error", {"in": step, "about": about, "error": repr(error)})

    def closed(self, flow: Flow) -> None:
        """A connection is gone. Who is reached by it is found out when somebody wants to."""
        self._log.strange("connection-closed", {"flow": flow})
        if self.team is not None:
            self.team.closed(flow)

    def count(self, name: str) -> None:
        """Count an event of the streams."""
        self.engine.counts[name] += 1

    def arm(self) -> None:
        """Set the one timer to the engine's next deadline, unless it fires before that anyway."""
        if self._timer is not None and not self.engine.has_earlier(self._deadline):
            return
        deadline = self.engine.next_deadline(LATENESS)
        if deadline is not None and deadline < self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._deadline = deadline
            self._timer = self._loop.call_at(deadline - self._epoch, self._time_passed)  # by a monotonic clock

    def _time_passed(self) -> None:
        self._timer = None
        self._deadline = math.inf
        self._enter("", self.engine.handle_timer)
        self.arm()

    def _drain(self, udp: UdpSocket, flow_from: Callable[[Address], Flow]) -> None:
        for data, source in udp.drain():
            self.receive(data, flow_from(source))
        self.arm()

    def receive_from_stream(self, data: bytes, flow: Flow) -> None:
        self.receive(data, flow)
        self.arm()

    # Out

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        waiting: list[Send] | None = None
        for effect in effects:
            if isinstance(effect, Send):
                if waiting is None:
                    self._send(effect)
                else:
                    waiting.append(effect)
            elif isinstance(effect, Note):
                if effect.name in STRANGERS:
                    self._log.strange(effect.name, effect.fields)
                else:
                    self._log.event(effect.name, effect.fields)
            elif isinstance(effect, Locate):
                self._begin(self._locate(effect))
            elif isinstance(effect, OpenRelay | SteerRelay | CloseRelay):
                self._relay_media(effect)
            elif self._store is not None:
                self._journal(effect)
                if self._durable_first and self._store.is_durable and waiting is None:
                    waiting = []
        if waiting and self._store is not None:
            self._store.when_durable(partial(self._send_all, waiting))

    def _from_writer(self, callbacks: list[Callable[[], None]]) -> None:
        """Called by the journal's thread: the loop is woken once, and sends all that waited for one commit."""
        self._loop.call_soon_threadsafe(self._call_all, callbacks)

    def _call_all(self, callbacks: list[Callable[[], None]]) -> None:
        for callback in callbacks:
            self._loop.call_soon(callback)

    def _relay_media(self, effect: OpenRelay | SteerRelay | CloseRelay) -> None:
        assert self.relay is not None
        if isinstance(effect, OpenRelay):
            taken, why = [], ""
            try:
                taken = self.relay.open(effect)
            except OSError as error:
                why = str(error)
            if taken or why:
                self._log.event("ports-unopened", {"call_id": effect.call_id, "taken": taken, "why": why})
                self._loop.call_soon(self._enter, effect.call_id, self.engine.relay_unopened, effect.session, taken)
        elif isinstance(effect, SteerRelay):
            self.relay.steer(effect)
        else:
            self.relay.close(effect)

    def media_silent(self, session: int) -> None:
        """Tell the engine that no media comes through a session any more."""
        self._enter(session, self.engine.relay_silent, session)

    def _journal(self, effect: Save | Forget) -> None:
        assert self._store is not None
        if isinstance(effect, Save):
            self._store.save(effect.record)
        else:
            self._store.forget(*effect)

    def _send(self, effect: Send) -> None:
        flow = effect.flow
        if self.mirror is not None:
            self.mirror.sent(effect.data, flow, self.now())
        if flow.transport != "udp":
            if self.team is None or not self.team.sends(effect):
                self.send_by_stream(effect)
            return
        failure = self._udp[flow.local].send(effect.data, flow.remote)
        if failure is not None:
            self._log.strange("send-failed", {"flow": flow, "why": failure})
            if effect.token:
                self._loop.call_soon(self.failed, effect.token)

    def has_stream(self, effect: Send) -> bool:
        """Say whether a connection of this process will do."""
        return self.streams is not None and self.streams.has(effect)

    def send_by_stream(self, effect: Send) -> None:
        """Send by a connection of this process."""
        if self.streams is not None:
            self.streams.send(effect)

    def _send_all(self, sends: list[Send]) -> None:
        for effect in sends:
            self._send(effect)

    async def _locate(self, wanted: Locate) -> None:
        hops: list[tuple[str, Address]] = []
        status = 502
        try:
            found = await self._resolver.locate(wanted.host, wanted.port, wanted.transport, wanted.secure)
            hops = [(target.transport, (target.host, target.port)) for target in found]
        except NoSuchHost as error:
            self._log.strange("name-unknown", {"host": wanted.host, "why": error})
        except NoAnswer as error:
            status = 504
            self._log.strange("name-unanswered", {"host": wanted.host, "why": error})
        self._enter(wanted.host, self.engine.located, wanted.token, hops, status)
        self.arm()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Pages

    def pages(self) -> dict[str, Callable[[], Page]]:
        """Return what the HTTP server shows."""
        return {
            "/metrics": self._metrics, "/healthz": self._health, "/registrations": self._registrations,
            "/media": self._media,
        }  # fmt: skip

    def values(self) -> dict[str, float]:
        """Return what this process counts, by the names of the metrics."""
        engine, open_connections = self.engine, self.streams.open_connections if self.streams else {}
        values: dict[str, float] = {
            **engine.counts,
            "retransmissions": engine.transactions.retransmissions,
            "log-lines-lost": self._log.lost,
            "keep-alives-sent": engine.keepalive.sent,
            "bindings-dead": engine.keepalive.removed,
            "flows-failed": engine.forwarding.flows_failed,
            "transactions-server": len(engine.transactions.servers),
            "transactions-client": len(engine.transactions.clients),
            "bindings": len(engine.location.by_id),
            "connections-tcp": open_connections.get("tcp", 0),
            "connections-tls": open_connections.get("tls", 0),
            "memory-bytes": _resident_bytes(),
            "file-descriptors": len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
            "start-time-seconds": self._started,
        }
        if self.relay is not None and engine.media is not None:
            values |= self.relay.counts() | {"relay-ports-free": len(engine.media.free)}
        if self.mirror is not None:
            values["hep-lost"] = self.mirror.lost
        if self.team is not None:
            values["worker-losses"] = self.team.lost
        own = self._store.own if isinstance(self._store, TeamJournal) else self._store
        if own is not None:
            values |= {
                "journal-commits": own.commits,
                "journal-failures": own.failures,
                "journal-durable": own.is_durable,
            }
        return values

    def _metrics(self) -> Page:
        values = self.values()
        if self.team is not None:
            values = total([values, *self.team.told.values()])
        return 200, "text/plain; version=0.0.4; charset=utf-8", render(values)

    def _health(self) -> Page:
        if self.engine.is_draining:
            return 503, PLAIN, "stopping\n"
        if self.team is not None and not self.team.is_well():
            return 503, PLAIN, "a worker does not answer\n"
        return 200, PLAIN, "ok\n"

    def _registrations(self) -> Page:
        now = self.now()
        rows = [
            {
                "aor": _text(binding.aor),
                "contact": _text(binding.contact),
                "flow": str(binding.flow),
                "behind_nat": binding.natted,
                "expires_s": round(binding.expires_at - now),
                "q": binding.q / 1000,
                "unanswered": binding.misses,
            }
            for _, binding in zip(range(MOST_SHOWN), list(self.engine.location.by_id.values()), strict=False)
        ]
        return 200, "application/json", json.dumps({"total": len(self.engine.location.by_id), "bindings": rows}) + "\n"

    def media_rows(self, most: int = MOST_SHOWN) -> list[dict[str, object]]:
        """Return what has passed in the calls whose media comes through this process."""
        calls = {} if self.relay is None else self.relay.calls
        return [
            {"call_id": _text(call.call_id[:MOST_CALL_ID]), **call.summary()}
            for _, call in zip(range(most), calls.values(), strict=False)
        ]

    def _media(self) -> Page:
        count, rows = len({} if self.relay is None else self.relay.calls), self.media_rows()
        if self.team is not None:
            count += round(sum(values.get("relay-sessions", 0) for values in self.team.told.values()))
            rows = [*rows, *(row for others in self.team.rows.values() for row in others)][:MOST_SHOWN]
        return 200, "application/json", json.dumps({"total": count, "sessions": rows}) + "\n"

    # The life of it

    def stop(self) -> None:
        """Take no new calls, and end when those that are being set up have been answered."""
        if self._stopping.is_set():
            self._stopped.set()  # asked twice: at once
        self._stopping.set()
        self.engine.is_draining = True
        if self.team is not None:
            self.team.drain()

    def end(self) -> None:
        """Stop at once."""
        self._stopping.set()
        self._stopped.set()

    def _reload(self) -> None:
        for line in self.reload():
            self._log.line(line)
        if self.team is not None:
            self.team.reload()

    async def run(
        self, greeting: list[str], reload: Callable[[], list[str]], drain_s: float, lifeline: int | None = None
    ) -> None:
        """Serve until SIGINT or SIGTERM; the greeting is written when a signal would already stop us cleanly.

        With a `lifeline` (a file descriptor) signals are somebody else's, who closes it when it is time to end.
        """
        self.reload = reload
        is_led = lifeline is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, _ignored if is_led else self.stop)
        self._loop.add_signal_handler(signal.SIGHUP, _ignored if is_led else self._reload)
        if lifeline is not None:
            self._loop.add_reader(lifeline, self.end)
        for local, udp in self._udp.items():
            flow_from = remembered_by_parts(partial(Flow, "udp", local))  # to make one takes longer than to find it
            self._loop.add_reader(udp.socket, self._drain, udp, flow_from)
        self._carry_out(self.engine.start(self.now()))
        self.arm()
        if self.team is not None:
            self.team.begin()
        self._log.later = self._loop.call_later
        for line in greeting:
            self._log.line(line)
        await self._stopping.wait()
        await self._finish(drain_s)
        if lifeline is not None:
            self._loop.remove_reader(lifeline)
        for udp in self._udp.values():
            self._loop.remove_reader(udp.socket)
        if self.end_others is not None:
            await self.end_others()  # what they have taken is written, and counted
        if self.team is not None:
            self.team.tell()
        if self._store is not None:
            self._store.close()
            await asyncio.sleep(0)  # one turn of the loop: what waited for the disk leaves now
        for udp in self._udp.values():
            udp.close()
        if self.relay is not None:
            self.relay.close_all()
        if self.streams is not None:
            await self.streams.close()
        if self.http is not None:
            await self.http.close()
        if self.mirror is not None:
            self.mirror.close()
        if self.team is not None:
            self.team.close()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._log.later = None
        self._log.flush()
        if not is_led:
            counts = self.engine.counts
            for others in {} if self.team is None else self.team.counts.values():
                counts.update(others)
            told = " ".join(f"{name}={count}" for name, count in sorted(counts.items()))
            self._log.line(f"SIP proxy stopped {told}".rstrip())

    def _pending(self) -> int:
        return self.engine.pending() + (0 if self.team is None else self.team.pending())

    async def _finish(self, drain_s: float) -> None:
        """Wait until every request has its final response, a second signal comes, or the time is up."""
        deadline, is_told = self._loop.time() + drain_s, False
        while (pending := self._pending()) and not self._stopped.is_set() and self._loop.time() < deadline:
            if not is_told and (self.team is None or self.team.have_said()):
                is_told = True
                self._log.line(f"SIP proxy stopping: {pending} requests wait for an answer, at most {drain_s:g} s")
            try:
                await asyncio.wait_for(self._stopped.wait(), 0.05)  # pacing of a look at the engine, with a deadline
            except TimeoutError:
                continue


def _ignored() -> None:
    """A signal that is somebody else's business."""


def _text(given: bytes) -> str:
    return given.decode("utf-8", "backslashreplace")


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
