"""The reflector among strangers: what it does not do for them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from nat import reflector as module
from nat.reflector import Reflector

HERE, THERE, VICTIM = (f"127.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250}.{last}" for last in (11, 12, 13))


@pytest.fixture
def reflector() -> Iterator[Reflector]:
    one = Reflector([HERE, THERE], ports=(0, 0), sip_port=0)
    yield one
    one.close()


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((VICTIM, 0))
        one.setblocking(False)
        yield one


def exchange(reflector: Reflector, stranger: socket.socket, data: bytes) -> list[bytes]:
    """Send a datagram; return what the stranger got when the reflector had dealt with it."""
    stranger.sendto(data, reflector.sockets[0].getsockname())
    reflector.step(1.0)
    got = []
    while True:
        try:
            got.append(stranger.recv(65_535))
        except BlockingIOError:
            return got


def question(size: int = 0, **fields: Any) -> bytes:
    """Return a question, padded to so many bytes."""
    fields = {"id": "1", **fields}
    return json.dumps({**fields, "pad": "." * (size - len(json.dumps({**fields, "pad": ""})))}).encode()


@pytest.mark.parametrize("ask", ["where", "others", "big", "speak", "bytes", "nonsense", "reach"])
@pytest.mark.parametrize("size", [0, 60, 100, 150, 200, 300, 400, 1400])
def test_nobody_is_sent_more_than_he_sent_before_he_has_proved_his_address(
    reflector: Reflector, stranger: socket.socket, ask: str, size: int
) -> None:
    reflector._kept["t"] = b"x" * 1000
    data = question(size, ask=ask, by=1, token="t", to=[VICTIM, 1], router=HERE)
    got = exchange(reflector, stranger, data)
    assert sum(map(len, got)) <= len(data)


def test_who_repeats_the_cookie_gets_what_he_asks_for(reflector: Reflector, stranger: socket.socket) -> None:
    reflector._kept["t"] = b"x" * 1000
    (first,) = exchange(reflector, stranger, question(200, ask="bytes", token="t"))
    assert json.loads(first)["refused"] == "cookie"
    cookie = json.loads(first)["cookie"]
    (second,) = exchange(reflector, stranger, question(200, ask="bytes", token="t", cookie=cookie))
    assert len(json.loads(second)["bytes"]) > 1000


def test_a_cookie_is_good_for_its_own_address_only(reflector: Reflector, stranger: socket.socket) -> None:
    cookie = reflector.cookie(HERE)
    (answer,) = exchange(reflector, stranger, question(400, ask="speak", by=1, cookie=cookie))
    assert json.loads(answer)["refused"] == "cookie"


@pytest.mark.parametrize(
    "fields",
    [
        {"ask": "reach", "to": [HERE, 9], "router": HERE},
        {"ask": "speak", "by": 0, "after": 901},
        {"ask": "speak", "by": 0, "after": -1},
        {"ask": "speak", "by": 0, "every": 0.1, "until": 10},
        {"ask": "speak", "by": 0, "every": 1, "until": 901},
    ],
)
def test_what_would_serve_an_attack_is_refused(
    reflector: Reflector, stranger: socket.socket, fields: dict[str, Any]
) -> None:
    (answer,) = exchange(reflector, stranger, question(400, cookie=reflector.cookie(VICTIM), **fields))
    assert json.loads(answer)["refused"]
    assert not reflector._due


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"[]", b"null", b"{}", b'{"id": 1}', b'{"id": "1", "ask": "speak", "by": 7}', b"[" * 8000,
     b'{"id": "1", "ask": "speak", "by": "x"}', b'{"id": "1", "ask": "speak", "by": 0, "after": NaN}',
     b'{"id": "1", "ask": "speak", "by": 0, "port": 70000}', b'{"id": "1", "ask": ["where"]}',
     b'{"id": "1", "ask": "speak", "by": 0, "after": 1e999}'],
)  # fmt: skip
def test_junk_is_ignored_and_counted_or_refused(reflector: Reflector, stranger: socket.socket, data: bytes) -> None:
    if data.startswith(b"{"):
        text = data.decode()[:-1] + f', "cookie": "{reflector.cookie(VICTIM)}"}}'
        data = text.encode() if data != b"{}" else data
    got = exchange(reflector, stranger, data)
    assert reflector.ignored or all("refused" in json.loads(packet) for packet in got)
    assert not reflector._due
    assert exchange(reflector, stranger, question(400, ask="where"))


def test_one_address_has_its_share_and_no_more(
    reflector: Reflector, stranger: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARE", 5.0)
    monkeypatch.setattr(module, "SHARE_PER_S", 0.0)
    got = [exchange(reflector, stranger, question(400, ask="where")) for _ in range(8)]
    assert [len(packets) for packets in got] == [1, 1, 1, 1, 1, 0, 0, 0]
    assert reflector.ignored["too many"] == 3
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as somebody:
        somebody.bind((HERE, 0))
        somebody.setblocking(False)
        assert exchange(reflector, somebody, question(400, ask="where"))


def test_what_is_kept_is_bounded(
    reflector: Reflector, stranger: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SOURCES", 10)
    for number in range(100):
        reflector._has_share(f"198.51.100.{number}")
    assert len(reflector._shares) == 10
    for number in range(100):
        reflector._keep(b"probe-%016x" % number)
    assert len(reflector._kept) == module.MOST_KEPT
    reflector._keep(b"no token")
    assert len(reflector._kept) == module.MOST_KEPT
    cookie = reflector.cookie(VICTIM)
    for _ in range(module.MOST_LATER_OF_ONE + 10):
        got = exchange(reflector, stranger, question(400, ask="speak", by=0, after=900, cookie=cookie))
    assert json.loads(got[0])["refused"] == "too many promises"
    assert len(reflector._due) == module.MOST_LATER_OF_ONE


def test_a_promise_is_kept_before_the_next_question_is_answered(reflector: Reflector, stranger: socket.socket) -> None:
    cookie = reflector.cookie(VICTIM)
    exchange(reflector, stranger, question(400, ask="speak", by=0, after=0.05, cookie=cookie))
    reflector.step(0.0)
    while reflector._due:  # until it is due, nothing comes
        reflector.step(0.2)
    got = [json.loads(packet) for packet in exchange(reflector, stranger, question(400, ask="where"))]
    assert ["seen" in answer for answer in got] == [False, True]


def test_a_connection_that_says_nothing_is_closed(reflector: Reflector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_S", 0.05)
    with socket.create_connection(reflector.sockets[0].getsockname()) as idle:
        idle.settimeout(1.0)
        reflector.step(1.0)
        while reflector._connections:
            reflector.step(0.2)
        assert idle.recv(1) == b""


def test_there_are_only_so_many_connections(reflector: Reflector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 2)
    open_ones = [socket.create_connection(reflector.sockets[0].getsockname()) for _ in range(4)]
    for _ in open_ones:
        reflector.step(1.0)
    assert len(reflector._connections) == 2
    for one in open_ones:
        one.close()


def test_a_line_without_an_end_is_not_read_for_ever(reflector: Reflector) -> None:
    with socket.create_connection(reflector.sockets[0].getsockname()) as endless:
        reflector.step(1.0)
        endless.sendall(b"x" * (module.MOST_BYTES + 1))
        while reflector._connections:
            reflector.step(1.0)


def test_an_address_that_is_not_here_is_named() -> None:
    with pytest.raises(OSError, match="assign") as failed:
        Reflector([HERE, "198.51.100.99"], ports=(0,), sip_port=0)
    assert failed.value.filename == "198.51.100.99:0"
