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
ROWS = 50  # of /media, told at once
_PASSED = 0x20  # the first byte of a token is below that, where another worker waits for it: no branch begins so


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

    def forget(self, id: int) -> None:
        """Take note that a binding is gone."""
        if self.own is not None:
            self.own.forget(id)
        self._mesh.say_all("forget", id)

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

    def heard_save(self, record: Record) -> None:
        """Another worker took a binding."""
        if self.own is not None:
            self.own.save(record)

    def heard_forget(self, id: int) -> None:
        """Another worker removed one."""
        if self.own is not None:
            self.own.forget(id)

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
        self.told: dict[int, dict[str, float]] = {}  # what the others count, by worker
        self.rows: dict[int, list[dict[str, Any]]] = {}  # and their rows of /media
        self.is_loaded = asyncio.Event()  # this worker has all bindings
        self.are_ready = asyncio.Event()  # all others serve
        self._mesh = mesh
        self._shell = shell
        self._location = location
        self._journal = journal
        self._ready: set[int] = set()
        self._told_at: dict[int, float] = {}
        self._elsewhere: dict[tuple[str, Address], int] = {}  # whose the newest connection to an address is
        self._pending: dict[int, int] = {}
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
        self._mesh.pass_on(owner, "message", data, tuple(flow))
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
        token = bytes((own,)) + effect.token if effect.token else b""
        self._mesh.say(owner, "send", tuple(flow), effect.data, token, effect.may_open, effect.server_name)
        return True

    def failed(self, token: bytes) -> bool:
        """Tell the worker whose message could not be sent; False where that is this one."""
        if token[0] >= _PASSED:
            return False
        self._mesh.say(token[0], "failed", token[1:])
        return True

    def opened(self, flow: Flow) -> None:
        """Tell the others of a connection: whom it reaches, they reach by it."""
        self._mesh.say_all("opened", flow.transport, flow.remote, self._mesh.number)

    def closed(self, flow: Flow) -> None:
        """Tell them that it is gone."""
        self._mesh.say_all("closed", flow.transport, flow.remote, self._mesh.number)

    def share(self) -> None:
        """Tell all others of the bindings that the journal had kept."""
        for binding in self._location.by_id.values():
            self._mesh.say_all("save", tuple(binding.record()), binding.flow.connection)
        self._mesh.say_all("loaded")

    def say_ready(self) -> None:
        """Tell the first worker that this one serves; from now on, what it counts too."""
        self._mesh.say(0, "ready", self._mesh.number)
        self._tell()

    def reload(self) -> None:
        """Have the others read users and certificates anew."""
        self._mesh.say_all("reload")

    def drain(self) -> None:
        """Have the others take no new calls, and say what they wait for."""
        self._pending = dict.fromkeys(range(1, self._mesh.count), 1)  # until they have said
        self._mesh.say_all("drain")

    def pending(self) -> int:
        """Return how many requests the others wait for."""
        return sum(self._pending.values())

    def close(self) -> None:
        """Be alone."""
        for timer in self._timers.values():
            timer.cancel()
        self._mesh.close()

    # What it does for them

    def _hear(self, kind: str, *what: Any) -> None:
        getattr(self, f"_heard_{kind}")(*what)

    def _heard_message(self, data: bytes, flow: tuple[Any, ...]) -> None:
        self._shell.see_to(data, Flow(*flow))
        self._shell.arm()

    def _heard_send(self, flow: tuple[Any, ...], data: bytes, token: bytes, may_open: bool, server_name: str) -> None:
        self._shell.send_by_stream(Send(Flow(*flow), data, token, may_open, server_name))

    def _heard_failed(self, token: bytes) -> None:
        self._shell.failed(token)

    def _heard_opened(self, transport: str, remote: Address, worker: int) -> None:
        self._elsewhere[transport, remote] = worker

    def _heard_closed(self, transport: str, remote: Address, worker: int) -> None:
        if self._elsewhere.get((transport, remote)) == worker:
            del self._elsewhere[transport, remote]

    def _heard_save(self, record: tuple[Any, ...], connection: int) -> None:
        self._location.take(Record(*record), connection)
        self._journal.heard_save(Record(*record))

    def _heard_forget(self, id: int) -> None:
        self._location.drop(id)
        self._journal.heard_forget(id)

    def _heard_durable(self, worker: int, question: int) -> None:
        self._journal.heard_durable(worker, question)

    def _heard_written(self, question: int) -> None:
        self._journal.heard_written(question)

    def _heard_loaded(self) -> None:
        self.is_loaded.set()

    def _heard_ready(self, worker: int) -> None:
        self._ready.add(worker)
        if len(self._ready) == self._mesh.count - 1:
            self.are_ready.set()

    def _heard_counts(self, worker: int, values: dict[str, float]) -> None:
        self.told[worker], self.rows[worker] = values, []
        self._told_at[worker] = self._loop.time()

    def _heard_media(self, worker: int, rows: list[dict[str, Any]]) -> None:
        self.rows[worker] += rows

    def _heard_reload(self) -> None:
        self._shell.reload()

    def _heard_drain(self) -> None:
        self._shell.engine.is_draining = True
        self._timers["counts"].cancel()
        self._tell()
        self._tell_pending()

    def _heard_pending(self, worker: int, count: int) -> None:
        self._pending[worker] = count

    def _tell(self) -> None:
        self._mesh.say(0, "counts", self._mesh.number, self._shell.values())
        rows = self._shell.media_rows()
        for first in range(0, len(rows), ROWS):
            self._mesh.say(0, "media", self._mesh.number, rows[first : first + ROWS])
        self._timers["counts"] = self._loop.call_later(TELL_S, self._tell)

    def _tell_pending(self) -> None:
        self._mesh.say(0, "pending", self._mesh.number, self._shell.engine.pending())
        self._timers["pending"] = self._loop.call_later(PENDING_S, self._tell_pending)
