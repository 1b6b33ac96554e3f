"""A phone asks by STUN how it is seen: from its own port, and believes nobody but whom it has asked."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from sipp_scenarios import stun
from tests.unit.process import free_port

SEEN = ("198.51.100.20", 50962)
PORT, ADDRESS = 50962 ^ 0x2112, 0xC6336414 ^ 0x2112A442  # of SEEN, as RFC 8489 §14.2 writes them
MAPPED = struct.pack("!HHBBHI", 0x0020, 8, 0, 1, PORT, ADDRESS)
SOFTWARE = struct.pack("!HH4s", 0x8022, 3, b"us!\0")  # padded to four bytes


def answer(attributes: bytes, transaction: bytes, kind: int = stun.SUCCESS) -> bytes:
    """Return an answer with these attributes."""
    return stun.HEADER.pack(kind, len(attributes), stun.COOKIE, transaction) + attributes


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A socket on which a test plays the server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(5)
        yield listening


def serving(server: socket.socket, *answers: tuple[bytes, bool]) -> tuple[threading.Thread, list[tuple[str, int]]]:
    """Answer one question with these attributes each, in the question's transaction or in another; note who asked."""
    asked: list[tuple[str, int]] = []

    def serve() -> None:
        question, client = server.recvfrom(2048)
        asked.append(client)
        assert question[:8] == bytes.fromhex("000100002112a442")
        for attributes, same in answers:
            server.sendto(answer(attributes, question[8:] if same else b"x" * 12), client)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread, asked


def test_the_server_is_asked_from_the_phones_own_port_and_believed(server: socket.socket) -> None:
    own = ("127.0.0.1", free_port())
    thread, asked = serving(server, (SOFTWARE + MAPPED, True))
    assert stun.public_address(own, server.getsockname()) == SEEN
    thread.join()
    assert asked == [own]


def test_an_answer_to_somebody_elses_question_is_passed_over(server: socket.socket) -> None:
    other = struct.pack("!HHBBHI", 0x0020, 8, 0, 1, 1, 1)
    thread, _ = serving(server, (other, False), (MAPPED, True))
    assert stun.public_address(("127.0.0.1", 0), server.getsockname()) == SEEN
    thread.join()


def test_a_server_that_does_not_answer_is_asked_twice_and_given_up(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stun, "WAITS_S", (0.01, 0.01))
    assert stun.public_address(("127.0.0.1", 0), server.getsockname()) is None
    assert server.recv(2048) == server.recv(2048)


@pytest.mark.parametrize(
    "attributes",
    [b"", SOFTWARE, MAPPED[:9], struct.pack("!HHBBHI", 0x0020, 8, 0, 2, PORT, ADDRESS), b"\0\x20\0\x08"],
    ids=["none", "another", "cut off", "IPv6", "empty"],
)
def test_an_answer_without_an_address_is_none(attributes: bytes) -> None:
    assert stun.mapped(answer(attributes, b"t" * 12)) is None


def test_a_refusal_is_no_answer() -> None:
    assert stun.mapped(answer(MAPPED, b"t" * 12, kind=0x0111)) is None
