"""What several processes that are one proxy tell each other: who does what, and sockets between them.

A call belongs to the worker that its Call-ID names, whoever of them received a message of it: transactions, and media,
are then known to one process, and no state is shared. The invariant: what one worker says to another arrives in the
order in which it was said; only messages from the network may be lost on the way, as in any network.
"""

from __future__ import annotations

import asyncio
import marshal
import re
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import Any
from zlib import crc32

BUFFER_BYTES = 4 << 20  # of what is on its way to one worker; the kernel may allow less
LONGEST = 1 << 20  # bytes that are told at once
MOST_WAITING = 1000  # of what could not be said yet; behind so much, messages from the network are dropped
DRAIN = 64  # heard in one turn

ALIVE = b"alive-"  # Call-IDs of the OPTIONS by which registered phones are kept alive begin so: the first worker asks
_CALL_ID = re.compile(rb"\n(?:call-id|i)[ \t]*:[ \t]*([^\s]*)", re.IGNORECASE)


def owner_of(data: bytes, count: int) -> int | None:
    """Return which of so many workers a message belongs to; None for what has no Call-ID: whoever received it."""
    found = _CALL_ID.search(data)
    if found is None:
        return None
    call_id = found[1]
    return 0 if call_id.startswith(ALIVE) else crc32(call_id) % count


class Mesh:
    """A socket for each worker that it hears by and all others speak to. Made before they part, by `become`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.number = 0
        self.lost = 0  # messages from the network that a worker had no time for
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
        self._ears, self._mouths = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        self._hear: Callable[..., object] = _deaf
        self._ear = select.poll()
        self._waiting: list[deque[bytes]] = [deque() for _ in range(count)]
        for each in (*self._ears, *self._mouths):
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)

    def become(self, number: int) -> None:
        """Be one of the workers from now on."""
        self.number = number
        for other, ear in enumerate(self._ears):
            if other != number:
                ear.close()

    def listen(self, hear: Callable[..., object]) -> None:
        """Have `hear(*what)` called with what others say, on the running loop."""
        self._hear = hear
        self._ear.register(self._ears[self.number], select.POLLIN)
        asyncio.get_running_loop().add_reader(self._ears[self.number], self._drain)

    def catch_up(self) -> None:
        """Hear what has been said so far: it was before what comes from the network now."""
        while self._ear.poll(0):
            self._drain()

    def say(self, to: int, *what: Any) -> None:
        """Tell one worker: plain values, which arrive whatever happens, as long as he lives."""
        self._queue(to, marshal.dumps(what))

    def say_all(self, *what: Any) -> None:
        """Tell all others."""
        data = marshal.dumps(what)
        for to in range(self.count):
            if to != self.number:
                self._queue(to, data)

    def pass_on(self, to: int, *what: Any) -> None:
        """Tell one worker what may be lost when he has too much to do."""
        if len(self._waiting[to]) < MOST_WAITING:
            self._queue(to, marshal.dumps(what))
        else:
            self.lost += 1

    def close(self) -> None:
        """Say and hear no more."""
        asyncio.get_running_loop().remove_reader(self._ears[self.number])
        for mouth in self._mouths:
            asyncio.get_running_loop().remove_writer(mouth)
            mouth.close()
        self._ears[self.number].close()

    def _queue(self, to: int, data: bytes) -> None:
        waiting = self._waiting[to]
        if not waiting and self._send(to, data):
            return
        waiting.append(data)
        if len(waiting) == 1:
            asyncio.get_running_loop().add_writer(self._mouths[to], self._go_on, to)

    def _go_on(self, to: int) -> None:
        waiting = self._waiting[to]
        while waiting and self._send(to, waiting[0]):
            waiting.popleft()
        if not waiting:
            asyncio.get_running_loop().remove_writer(self._mouths[to])

    def _send(self, to: int, data: bytes) -> bool:
        """Return False when it has to wait. To one who has ended nothing can be said: the others will end too."""
        try:
            self._mouths[to].send(data)
        except BlockingIOError:
            return False
        except OSError:
            self.lost += 1
        return True

    def _drain(self) -> None:
        recv, is_more = self._ears[self.number].recv, self._ear.poll
        for _ in range(DRAIN):
            try:
                data = recv(LONGEST)
            except BlockingIOError:
                return
            self._hear(*marshal.loads(data))
            if not is_more(0):  # to be told so by an exception takes seven times as long
                return


def _deaf(*what: object) -> None:
    """Nobody listens yet."""
