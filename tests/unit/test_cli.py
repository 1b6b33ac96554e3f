"""`python -m proxy` as a user meets it: a process, a socket, signals. It waits for facts, never for a time."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.log import STRANGERS_LINES_PER_S

ROOT = Path(__file__).parents[2]
DEADLINE_S = 20.0


def environment(port: int, **settings: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SIP_PROXY_", "UA_"))}
    return {**clean, "SIP_PROXY_PORT": str(port), "PYTHONUNBUFFERED": "1", **settings}


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(*arguments: str, port: int = 5060, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments], cwd=ROOT, env=environment(port, **settings),
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

    def ask(self, data: bytes) -> bytes:
        """Send a datagram and return what comes back."""
        self.asker.send(data)
        return self.asker.recv(65536)

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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_that_it_listens_answers_and_stops_cleanly(number: int) -> None:
    with serving() as proxy:
        assert proxy.line() == f"SIP proxy listening on 127.0.0.1:{proxy.port} (udp)"
        assert proxy.ask(proxy.options(1)).startswith(b"SIP/2.0 200 OK\r\n")
        assert run("ping", port=proxy.port).returncode == 0
        status, out, err = proxy.stop(number)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].startswith("SIP proxy stopped requests=2")


def test_a_signal_right_after_the_greeting_stops_it_cleanly() -> None:
    with serving() as proxy:
        proxy.line()
        assert proxy.stop(signal.SIGINT)[0] == 0


def test_nobody_answers_a_ping_where_nobody_listens() -> None:
    done = run("ping", port=free_port())
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_a_port_that_is_taken_is_one_line_and_exit_2() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = run(port=port)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"proxy: cannot listen on 127.0.0.1:{port} (udp): Address already in use; ")


def test_an_address_of_another_machine_is_one_line_and_exit_2() -> None:
    done = run(SIP_PROXY_IP="198.51.100.10")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_wrong_settings_are_one_line_each_and_exit_2(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text('log = "loud"\ncolour = "red"\n', encoding="utf-8")
    done = run("--config", str(path), SIP_PROXY_IP="here", UA_MAPPING="{", SIP_PROXY_WITHOUT="sleep")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("proxy: ") for line in lines)
    for name in ("SIP_PROXY_IP='here'", "UA_MAPPING='{'", "SIP_PROXY_WITHOUT='sleep'", "log='loud'", "colour"):
        assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_all_interfaces_without_an_address_to_advertise_is_one_line_and_exit_2() -> None:
    done = run(SIP_PROXY_IP="0.0.0.0")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "SIP_PROXY_ADVERTISE" in line


def test_all_interfaces_with_one_serve() -> None:
    with serving(SIP_PROXY_IP="0.0.0.0", SIP_PROXY_ADVERTISE="127.0.0.1") as proxy:
        assert proxy.line() == f"SIP proxy listening on 0.0.0.0:{proxy.port} (udp)"
        assert proxy.ask(proxy.options(1)).startswith(b"SIP/2.0 200 ")


def test_a_file_of_settings_is_obeyed_and_remedies_that_are_off_are_named(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text('without = ["rport", "contact"]\n', encoding="utf-8")
    with serving("--config", str(path)) as proxy:
        proxy.line()
        assert proxy.line() == "SIP proxy without rport, contact"


@pytest.mark.parametrize("arguments", [("dance",), ("--loud",)])
def test_an_unknown_verb_or_option_is_exit_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_help_names_every_setting() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in ("SIP_PROXY_IP", "SIP_PROXY_PORT", "SIP_PROXY_ADVERTISE", "SIP_PROXY_DOMAINS", "UA_MAPPING"):
        assert name in done.stdout


def test_bad_datagrams_are_answered_or_dropped_with_a_line_and_it_lives_on() -> None:
    with serving() as proxy:
        proxy.line()
        proxy.asker.send(b"")
        without_via = b"OPTIONS sip:x SIP/2.0\r\n\r\n"
        for number, data in enumerate((b"hello", bytes(range(255, -1, -1)), b"\xff" * 60_000, without_via)):
            proxy.asker.send(data)
            assert proxy.line().startswith("message-dropped reason=")
            assert proxy.ask(proxy.options(number)).startswith(b"SIP/2.0 200 ")
        malformed = proxy.options(9).replace(b"CSeq: 1", b"CSeq: one")
        assert proxy.ask(malformed).startswith(b"SIP/2.0 400 Bad CSeq\r\n")
        assert proxy.line().startswith("request-refused call_id=9 ")
        oversized = proxy.options(10) + b"x" * 60_000
        assert proxy.ask(oversized).startswith(b"SIP/2.0 513 ")
        assert proxy.line().startswith("request-refused call_id=10 ")
        status, _, err = proxy.stop(signal.SIGTERM)
    assert (status, err) == (0, "")


def test_a_flood_of_rubbish_fills_no_log() -> None:
    with serving() as proxy:
        proxy.line()
        began = time.monotonic()
        for number in range(20):
            for _ in range(10):
                proxy.asker.send(b"rubbish")
            assert proxy.ask(proxy.options(number)).startswith(b"SIP/2.0 200 ")  # all before it has been read
        seconds = int(time.monotonic() - began) + 2
        status, out, err = proxy.stop(signal.SIGTERM)
    assert (status, err) == (0, "")
    assert "not-sip=200" in out
    assert 0 < out.count("message-dropped") <= seconds * STRANGERS_LINES_PER_S
