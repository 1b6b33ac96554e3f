"""What several processes that are one proxy tell each other: who does what, and sockets between them.

A call belongs to the worker that its Call-ID names, whoever of them received a message of it: transactions, and media,
are then known to one process, and no state is shared. The invariant: what one worker tells another of the proxy's state
arrives in the order in which it was told, and is heard before any message from the network that came after it.
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
LONGEST = 100_000  # bytes that are said at once; for more than 128 KiB each time the C library would ask the kernel
MOST_PASSED = 1000  # messages that a worker has not taken yet: behind so many, datagrams are dropped
MANY = 1000
MOST_SAID = 100_000  # and of everything else: whoever has not heard so much hears nothing any more
DRAIN = 64  # heard in one turn

ALIVE = b"alive-"  # Call-IDs of the OPTIONS by which registered phones are kept alive begin so: the first worker asks
_CALL_ID = re.compile(rb"\n(?:call-id|i)[ \t]*:(?:[ \t]|\r\n[ \t])*([^\s]*)", re.IGNORECASE)


def owner_of(data: bytes, count: int) -> int | None:
    """Return which of so many workers a message belongs to; None for what has no Call-ID: whoever received it."""
    found = _CALL_ID.search(data)
    if found is None:
        return None
    call_id = found[1]
    return 0 if call_id.startswith(ALIVE) else crc32(call_id) % count


class _Wire:
    """One way to each worker: a socket that it hears by and all others speak to."""

    def __init__(self, count: int) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
        self.ears, self.mouths = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        self.waiting: list[deque[bytes]] = [deque() for _ in range(count)]
        self.ear, self.poll = self.ears[0], select.poll()
        self.hear: Callable[..., object] = _deaf
        self.emptied = asyncio.Event()  # nothing waits for one of them any more
        self.lost = 0
        for each in (*self.ears, *self.mouths):
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)

    def become(self, number: int) -> None:
        self.ear = self.ears[number]
        for ear in self.ears:
            if ear is not self.ear:
                ear.close()

    def listen(self, hear: Callable[..., object]) -> None:
        self.hear = hear
        self.poll.register(self.ear, select.POLLIN)
        asyncio.get_running_loop().add_reader(self.ear, self.drain)

    def drain(self) -> None:
        recv, is_more = self.ear.recv, self.poll.poll
        for _ in range(DRAIN):
            try:
                data = recv(LONGEST)
            except BlockingIOError:
                return
            self.hear(*marshal.loads(data))
            if not is_more(0):  # to be told so by an exception takes seven times as long
                return

    def say(self, to: int, data: bytes, most: int) -> None:
        waiting = self.waiting[to]
        if not waiting and self._send(to, data):
            return
        if len(waiting) >= most:
            self.lost += 1
            return
        waiting.append(data)
        if len(waiting) == 1:
            asyncio.get_running_loop().add_writer(self.mouths[to], self._go_on, to)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.ear)
        for mouth in self.mouths:
            loop.remove_writer(mouth)
            mouth.close()
        self.ear.close()

    def _go_on(self, to: int) -> None:
        waiting = self.waiting[to]
        while waiting and self._send(to, waiting[0]):
            waiting.popleft()
        if not waiting:
            asyncio.get_running_loop().remove_writer(self.mouths[to])
            self.emptied.set()

    def _send(self, to: int, data: bytes) -> bool:
        """Return False when it has to wait. To one who has ended nothing can be said: the others will end too."""
        try:
            self.mouths[to].send(data)
        except BlockingIOError:
            return False
        except OSError:
            self.lost += 1
        return True


class Mesh:
    """Two wires between all workers: for what they know, and for messages. Made before they part, by `become`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.number = 0
        self._news, self._messages = _Wire(count), _Wire(count)

    @property
    def lost(self) -> int:
        """How much a worker had no time for."""
        return self._news.lost + self._messages.lost

    async def has_room(self) -> None:
        """Wait until no worker has many news to hear."""
        while max(map(len, self._news.waiting)) > MANY:
            self._news.emptied.clear()
            await self._news.emptied.wait()

    def become(self, number: int) -> None:
        """Be one of the workers from now on."""
        self.number = number
        self._news.become(number)
        self._messages.become(number)

    def listen(self, hear: Callable[..., object]) -> None:
        """Have `hear(*what)` called with what others say, on the running loop."""
        self._news.listen(hear)
        self._messages.listen(hear)

    def catch_up(self) -> None:
        """Hear the news, which were there before a message that has come from the network now. Of those, a share."""
        if self._news.poll.poll(0):
            self._news.drain()

    def say(self, to: int, *what: Any) -> None:
        """Tell one worker news, in plain values."""
        self._news.say(to, marshal.dumps(what), MOST_SAID)

    def say_all(self, *what: Any) -> None:
        """Tell all others."""
        data = marshal.dumps(what)
        for to in range(self.count):
            if to != self.number:
                self._news.say(to, data, MOST_SAID)

    def pass_on(self, to: int, *what: Any, may_be_lost: bool = False) -> None:
        """Give one worker a message, to see to or to send. What came by UDP may be lost where he has too much to do."""
        self._messages.say(to, marshal.dumps(what), MOST_PASSED if may_be_lost else MOST_SAID)

    def close(self) -> None:
        """Say and hear no more."""
        self._news.close()
        self._messages.close()


def _deaf(*what: object) -> None:
    """Nobody listens yet."""
