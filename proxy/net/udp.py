"""The UDP socket: drained at every wake-up, because waking up costs more than reading (RFC 3261 §18)."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator

from proxy.core.flow import Address

DRAIN = 64  # datagrams a wake-up: enough to catch up, few enough to let signals and timers in
BUFFER_BYTES = 65_536
SOCKET_BUFFER_BYTES = 4 << 20  # a burst of some thousand messages; the kernel may allow less


class UdpSocket:
    """One bound, non-blocking socket."""

    def __init__(self, address: Address, is_shared: bool = False) -> None:
        """Bind; `is_shared` with other workers: the kernel gives all that comes from one address and port to one of us.

        Raises OSError.
        """
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        if family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, is_shared)
        try:
            self.socket.bind(address)
        except OSError:
            self.socket.close()
            raise
        self._reader = select.poll()
        self._reader.register(self.socket, select.POLLIN)

    def drain(self) -> Iterator[tuple[bytes, Address]]:
        """Yield what has arrived, at most DRAIN datagrams, each with its source."""
        recvfrom, is_more = self.socket.recvfrom, self._reader.poll
        for _ in range(DRAIN):
            try:
                data, source = recvfrom(BUFFER_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ECONNREFUSED:  # an ICMP answer to something that we sent
                    continue
                raise
            yield data, source[:2]
            if not is_more(0):  # to be told so by an exception takes seven times as long
                return

    def send(self, data: bytes, target: Address) -> str | None:
        """Send one datagram; return why it could not be sent, or None."""
        try:
            self.socket.sendto(data, target)
        except BlockingIOError:  # the kernel's queue is full: a packet lost like any other, and retransmitted
            return None
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return None
            return error.strerror or str(error)
        return None

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
