"""A running `python -m proxy`: a process, a socket, signals. Whoever uses it waits for facts, never for a time."""

from __future__ import annotations

import os
import random
import select
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEADLINE_S = 20.0
LOWEST_PORT = 20000
WORKERS = 16  # test processes that run side by side, at most


def environment(port: int | str, **settings: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SIP_PROXY_", "UA_"))}
    own = {"SIP_PROXY_PORT": str(port), "SIP_PROXY_HTTP_PORT": "0", "PYTHONUNBUFFERED": "1"}
    return {**clean, **own, **settings}


def ports() -> Iterator[int]:
    """Yield ports that the kernel gives to nobody who asks for any, each once, other ones in each test process.

    A port from `bind(0)`, let go for the proxy to take, is anybody's in between.
    """
    lowest_of_the_kernel = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    own = range(LOWEST_PORT + worker, lowest_of_the_kernel, WORKERS)
    start = random.randrange(max(len(own), 1))  # not where the run before left its connections in TIME_WAIT
    yield from own[start:]
    yield from own[:start]


PORTS = ports()


def free_port() -> int:
    """Return a port that is free for UDP and for TCP, and that no other test gets."""
    for port in PORTS:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            suppress(OSError),
        ):
            datagrams.bind(("127.0.0.1", port))
            stream.bind(("127.0.0.1", port))
            return port
    raise AssertionError("every port below the kernel's own has been used")


def run(
    *arguments: str, port: int | str = 5060, stdin: str | None = None, **settings: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments], cwd=ROOT, env=environment(port, **settings), input=stdin or "",
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip


class Running:
    """A proxy that serves, and a socket to talk to it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, asker: socket.socket) -> None:
        self.process = process
        self.port = port
        self.asker = asker
        self._unread = b""

    def line(self) -> str:
        """Return the next line that it writes."""
        assert self.process.stdout is not None
        while b"\n" not in self._unread:
            readable, _, _ = select.select([self.process.stdout], [], [], DEADLINE_S)
            assert readable, "no line within the deadline"
            read = os.read(self.process.stdout.fileno(), 65536)
            assert read, "the proxy ended"
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def lines_until(self, start: str) -> list[str]:
        """Return lines up to the first that begins so."""
        lines = [self.line()]
        while not lines[-1].startswith(start):
            lines.append(self.line())
        return lines

    def page(self, path: str, port: int) -> tuple[int, str]:
        """Return status and text of one of its pages."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def ask(self, data: bytes) -> bytes:
        """Send a datagram and return what comes back."""
        self.asker.send(data)
        return self.asker.recv(65536)

    def own(self) -> str:
        """Return host:port of the socket that asks."""
        return "%s:%d" % self.asker.getsockname()

    def register(self, user: str, cseq: int, contact: str = "", more: str = "") -> bytes:
        """Return a REGISTER."""
        own = self.own()
        return (
            f"REGISTER sip:127.0.0.1:{self.port} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKr{cseq}{user}\r\n"
            f"From: <sip:{user}@127.0.0.1>;tag=1\r\nTo: <sip:{user}@127.0.0.1>\r\nCall-ID: {user}\r\n"
            f"CSeq: {cseq} REGISTER\r\nContact: <{contact or f'sip:{user}@{own}'}>\r\n{more}Content-Length: 0\r\n\r\n"
        ).encode()

    def options(self, number: int) -> bytes:
        """Return an OPTIONS for it."""
        own = b"%s:%d" % (self.asker.getsockname()[0].encode(), self.asker.getsockname()[1])
        return (
            b"OPTIONS sip:127.0.0.1:%d SIP/2.0\r\nVia: SIP/2.0/UDP %b;branch=z9hG4bK%d\r\nFrom: <sip:a@b>;tag=1\r\n"
            b"To: <sip:b@b>\r\nCall-ID: %d\r\nCSeq: 1 OPTIONS\r\n\r\n" % (self.port, own, number, number)
        )

    def stop(self, number: int) -> tuple[int, str, str]:
        """Send a signal; return the exit status and what it wrote since."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, (self._unread + out).decode(), err.decode()


@contextmanager
def serving(*arguments: str, **settings: str) -> Iterator[Running]:
    port = free_port()
    with (
        subprocess.Popen(
            [sys.executable, "-m", "proxy", *arguments], cwd=ROOT, env=environment(port, **settings),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker,
    ):  # fmt: skip
        try:
            asker.settimeout(DEADLINE_S)
            asker.connect(("127.0.0.1", port))
            yield Running(process, port, asker)
        finally:
            process.kill()
