"""One worker among others: what it has them do, and what it does for them.

Bindings are known to all: whoever takes a REGISTER tells the others, before the phone is answered. The journal and the
pages are the first worker's; a connection is its who accepted or opened it, and its number says whose that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proxy.core.effects import Record, Send
from proxy.core.flow import Address, Flow
from proxy.core.location import Location
from proxy.net.mesh import Mesh, owner_of
from proxy.net.store import Store

if TYPE_CHECKING:
    from proxy.net.shell import Shell

TELL_S = 1.0  # how often the first worker is told what the others count
DEAF_S = 10.0  # a worker that has told nothing for so long is not well
PENDING_S = 0.05  # and, when it stops, what they still wait for
MOST_EARLY = 10_000  # messages that others pass on while this worker begins
ROWS, MOST_ROWS = 50, 200  # of /media: told at once, and of each worker
_PASSED = b"\0"  # a token begins so where another worker waits for it: no branch does


class TeamJournal:
    """What a worker's shell takes for the journal: all workers are told, and the first writes it down.

    `own` is the first worker's; `is_kept` says whether there is one at all.
    """

    def __init__(self, mesh: Mesh, location: Location, own: Store | None, is_kept: bool) -> None:
        self._mesh = mesh
        self._location = location
        self.own = own
        self._is_kept = is_kept
        self._asked: dict[int, Callable[[], None]] = {}
        self._questions = 0

    @property
    def is_durable(self) -> bool:
        """Say whether an answer may wait until something is on disk."""
        return self._is_kept if self.own is None else self.own.is_durable

    def save(self, record: Record) -> None:
        """Take note of a binding."""
        if self.own is not None:
            self.own.save(record)
        binding = self._location.by_id.get(record.id)
        if binding is not None:  # else it went again at once
            self._mesh.say_all("save", tuple(record), binding.flow.connection)

    def forget(self, id: int, expires_at: float) -> None:
        """Take note that a binding is gone, as it was known here: another worker may know a newer one."""
        if self.own is not None:
            self.own.forget(id, expires_at)
        self._mesh.say_all("forget", id, expires_at)

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call back when what was saved before is on disk."""
        if self.own is not None:
            self.own.when_durable(callback)
        elif self._is_kept:
            self._questions += 1
            self._asked[self._questions] = callback
            self._mesh.say(0, "durable", self._mesh.number, self._questions)
        else:
            callback()

    def close(self) -> None:
        """Write what is pending."""
        if self.own is not None:
            self.own.close()

    # What others say

    def heard_save(self, record: Record, connection: int) -> None:
        """Another worker took a binding."""
        gone = self._location.take(record, connection)
        if self.own is not None:
            self.own.save(record)
            for id in gone:
                self.own.forget(id, record.expires_at)

    def heard_forget(self, id: int, expires_at: float) -> None:
        """Another worker removed one."""
        if self._location.drop(id, expires_at) and self.own is not None:
            self.own.forget(id, expires_at)

    def heard_durable(self, worker: int, question: int) -> None:
        """Another worker waits for the disk. While that refuses, nobody does."""
        if self.own is not None and self.own.is_durable:
            self.own.when_durable(lambda: self._mesh.say(worker, "written", question))
        else:
            self._mesh.say(worker, "written", question)

    def heard_written(self, question: int) -> None:
        """What we waited for is on disk."""
        self._asked.pop(question)()


class Team:
    """This worker's place among the others."""

    def __init__(self, mesh: Mesh, shell: Shell, location: Location, journal: TeamJournal) -> None:
        self.told: dict[int, dict[str, float]] = {}  # the metrics of the others, by worker
        self.counts: dict[int, dict[str, int]] = {}  # what their engines counted
        self.rows: dict[int, list[dict[str, Any]]] = {}  # and their rows of /media
        self.is_loaded = asyncio.Event()  # this worker has all bindings
        self.are_ready = asyncio.Event()  # all others serve
        self._mesh = mesh
        self._shell = shell
        self._location = location
        self._journal = journal
        self._new_rows: dict[int, list[dict[str, Any]]] = {}  # of which some are still to come
        self._early: list[Callable[[], None]] | None = []  # what came before this worker served
        self._ready: set[int] = set()
        self._told_at: dict[int, float] = {}
        self._elsewhere: dict[tuple[str, Address], int] = {}  # whose the newest connection to an address is
        self._pending: dict[int, int] = {}
        self._drained: set[int] = set()
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        mesh.listen(self._hear)

    @property
    def lost(self) -> int:
        """How many messages could not be passed on."""
        return self._mesh.lost

    def is_well(self) -> bool:
        """Say whether all others have told something of late: the first worker answers for them."""
        return all(self._loop.time() - at < DEAF_S for at in self._told_at.values())

    # What this worker has others do

    def passes_on(self, data: bytes, flow: Flow) -> bool:
        """Pass a message on to the worker that it belongs to; False where that is this one."""
        owner = owner_of(data, self._mesh.count)
        if owner is None or owner == self._mesh.number:
            self._mesh.catch_up()  # who has registered with another may be called at once
            return False
        self._mesh.pass_on(owner, "message", data, tuple(flow), may_be_lost=flow.transport == "udp")
        return True

    def sends(self, effect: Send) -> bool:
        """Have a message sent by the worker whose connection it takes; False where that is this one."""
        flow, own = effect.flow, self._mesh.number
        if flow.connection > 0:
            owner = (flow.connection - 1) % self._mesh.count
        elif flow.connection == 0 and not self._shell.has_stream(effect):
            owner = self._elsewhere.get((flow.transport, flow.remote), own)
        else:
            owner = own
        if owner == own:
            return False
        token = _PASSED + bytes((own,)) + effect.token if effect.token else b""
        self._mesh.pass_on(owner, "send", tuple(flow), effect.data, token, effect.may_open, effect.server_name)
        return True

    def failed(self, token: bytes) -> bool:
        """Tell the worker whose message could not be sent; False where that is this one."""
        if not token.startswith(_PASSED):
            return False
        self._mesh.say(token[1], "failed", token[2:])
        return True

    def opened(self, flow: Flow) -> None:
        """Tell the others of a connection: whom it reaches, they reach by it."""
        self._mesh.say_all("opened", flow.transport, flow.remote, self._mesh.number)

    def closed(self, flow: Flow) -> None:
        """Tell them that it is gone."""
        self._mesh.say_all("closed", flow.transport, flow.remote, self._mesh.number)

    async def share(self) -> None:
        """Tell all others of the bindings that the journal had kept, as fast as they hear of them."""
        for binding in list(self._location.by_id.values()):
            self._mesh.say_all("save", tuple(binding.record()), binding.flow.connection)
            await self._mesh.has_room()
        self._mesh.say_all("loaded", self._location.last_id)

    def begin(self) -> None:
        """This worker serves: what came too early is done, and the first worker is told, and what is counted too."""
        early, self._early = self._early or [], None
        for action in early:
            action()
        if self._mesh.number:
            self._mesh.say(0, "ready", self._mesh.number)
            self.tell()

    def reload(self) -> None:
        """Have the others read users and certificates anew."""
        self._mesh.say_all("reload")

    def drain(self) -> None:
        """Have the others take no new calls, and say what they wait for."""
        self._pending = dict.fromkeys(range(1, self._mesh.count), 1)  # until they have said
        self._mesh.say_all("drain")

    def pending(self) -> int:
        """Return how many requests the others wait for; of who has not said, one."""
        return sum(self._pending.values())

    def have_said(self) -> bool:
        """Say whether all others have said what they wait for."""
        return len(self._drained) == self._mesh.count - 1

    def close(self) -> None:
        """Be alone."""
        for timer in self._timers.values():
            timer.cancel()
        self._mesh.close()

    # What it does for them

    def _hear(self, kind: str, *what: Any) -> None:
        """What fails is no reason not to hear what comes behind it."""
        try:
            getattr(self, f"_heard_{kind}")(*what)
        except Exception as error:
            self._shell.survive(kind, what[:1], error)

    def _heard_message(self, data: bytes, flow: tuple[Any, ...]) -> None:
        self._when_serving(lambda: self._see_to(data, Flow(*flow)))

    def _see_to(self, data: bytes, flow: Flow) -> None:
        self._mesh.catch_up()
        self._shell.see_to(data, flow)
        self._shell.arm()

    def _heard_send(self, flow: tuple[Any, ...], data: bytes, token: bytes, may_open: bool, server_name: str) -> None:
        effect = Send(Flow(*flow), data, token, may_open, server_name)
        self._when_serving(lambda: self._shell.send_by_stream(effect))

    def _when_serving(self, action: Callable[[], None]) -> None:
        if self._early is None:
            action()
        elif len(self._early) < MOST_EARLY:
            self._early.append(action)

    def _heard_failed(self, token: bytes) -> None:
        self._shell.failed(token)

    def _heard_opened(self, transport: str, remote: Address, worker: int) -> None:
        self._elsewhere[transport, remote] = worker

    def _heard_closed(self, transport: str, remote: Address, worker: int) -> None:
        if self._elsewhere.get((transport, remote)) == worker:
            del self._elsewhere[transport, remote]

    def _heard_save(self, record: tuple[Any, ...], connection: int) -> None:
        self._journal.heard_save(Record(*record), connection)

    def _heard_forget(self, id: int, expires_at: float) -> None:
        self._journal.heard_forget(id, expires_at)

    def _heard_durable(self, worker: int, question: int) -> None:
        self._journal.heard_durable(worker, question)

    def _heard_written(self, question: int) -> None:
        self._journal.heard_written(question)

    def _heard_loaded(self, last_id: int) -> None:
        self._location.know(last_id)
        self.is_loaded.set()

    def _heard_ready(self, worker: int) -> None:
        self._ready.add(worker)
        if len(self._ready) == self._mesh.count - 1:
            self.are_ready.set()

    def _heard_counts(self, worker: int, values: dict[str, float], counts: dict[str, int]) -> None:
        self.told[worker], self.counts[worker] = values, counts
        self._told_at[worker] = self._loop.time()

    def _heard_media(self, worker: int, rows: list[dict[str, Any]], is_last: bool) -> None:
        found = self._new_rows.setdefault(worker, [])
        found += rows
        if is_last:
            self.rows[worker] = self._new_rows.pop(worker)

    def _heard_reload(self) -> None:
        self._shell.reload()

    def _heard_drain(self) -> None:
        self._shell.engine.is_draining = True
        self._tell_pending()

    def _heard_pending(self, worker: int, count: int) -> None:
        self._pending[worker] = count
        self._drained.add(worker)

    def tell(self) -> None:
        """Tell the first worker what this one counts, and again in a while."""
        own = self._mesh.number
        if not own:
            return
        self._mesh.say(0, "counts", own, self._shell.values(), dict(self._shell.engine.counts))
        rows = self._shell.media_rows(MOST_ROWS)
        for first in range(0, max(len(rows), 1), ROWS):
            self._mesh.say(0, "media", own, rows[first : first + ROWS], first + ROWS >= len(rows))
        if "counts" in self._timers:
            self._timers["counts"].cancel()
        self._timers["counts"] = self._loop.call_later(TELL_S, self.tell)

    def _tell_pending(self) -> None:
        self._mesh.say(0, "pending", self._mesh.number, self._shell.engine.pending())
        self._timers["pending"] = self._loop.call_later(PENDING_S, self._tell_pending)
