"""The pages, asked for on real sockets: by who asks well, by who asks ill, and by who does not come to an end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from proxy.net import http
from proxy.net.http import MAX_REQUEST, PLAIN, Http, Page

PATIENCE_S = 20  # before a test that waits for a fact gives up
PAGES: dict[str, Callable[[], Page]] = {
    "/": lambda: (200, PLAIN, "front\n"),
    "/umlaut": lambda: (200, "application/json", '"für"\n'),
    "/stopping": lambda: (503, PLAIN, "stopping\n"),
    "/long": lambda: (200, PLAIN, "x" * 16_000_000),  # more than the kernel takes for a peer that does not read
}


def run(test: Coroutine[Any, Any, None]) -> None:
    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await test

    asyncio.run(patiently())


@contextlib.asynccontextmanager
async def serving(pages: dict[str, Callable[[], Page]] = PAGES) -> Any:
    served = Http(pages)
    address = await served.listen("127.0.0.1", 0)
    try:
        yield address
    finally:
        await served.close()


@contextlib.asynccontextmanager
async def asking(address: tuple[str, int]) -> Any:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def left(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the other side closes, by whatever means."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while more := await reader.read(65_536):
            data += more
    return data


async def ask(address: tuple[str, int], *pieces: bytes) -> bytes:
    async with asking(address) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await left(reader)


def asked(*pieces: bytes) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the answer to a request that is sent in these pieces."""
    found: list[bytes] = []

    async def test() -> None:
        async with serving() as address:
            found.append(await ask(address, *pieces))

    run(test())
    head, _, body = found[0].partition(b"\r\n\r\n")
    start, *lines = head.decode().split("\r\n")
    return int(start.split()[1]), dict(line.split(": ", 1) for line in lines), body


def test_a_page_comes_whole_with_its_length_in_bytes_and_nothing_keeps_it() -> None:
    status, headers, body = asked(b"GET /umlaut HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, body) == (200, '"für"\n'.encode())
    assert headers == {
        "Content-Type": "application/json", "Content-Length": str(len(body)), "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff", "Connection": "close",
    }  # fmt: skip


def test_what_follows_a_question_mark_chooses_no_other_page() -> None:
    assert asked(b"GET /?name[]=x HTTP/1.1\r\n\r\n")[2] == b"front\n"


def test_a_request_may_come_in_pieces() -> None:
    assert asked(b"GE", b"T / HT", b"TP/1.0\r\n", b"\r\n")[2] == b"front\n"


def test_the_head_of_a_page_is_the_page_without_its_body() -> None:
    status, headers, body = asked(b"HEAD /umlaut HTTP/1.1\r\n\r\n")
    assert (status, headers["Content-Length"], body) == (200, "7", b"")


def test_a_page_says_its_own_status() -> None:
    assert asked(b"GET /stopping HTTP/1.1\r\n\r\n")[::2] == (503, b"stopping\n")


@pytest.mark.parametrize("path", [b"/nowhere", b"/../etc/passwd", b"/UMLAUT", b"", b"//", b"\xff"])
def test_an_unknown_path_is_told_which_there_are(path: bytes) -> None:
    status, _, body = asked(b"GET %b HTTP/1.1\r\n\r\n" % path)
    assert (status, body) == (404, b"there are /, /umlaut, /stopping, /long\n")


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS", b"get"])
def test_nothing_but_reading_is_possible(method: bytes) -> None:
    assert asked(b"%b / HTTP/1.1\r\nContent-Length: 0\r\n\r\n" % method)[0] == 405


@pytest.mark.parametrize("start", [b"", b"GET", b"GET /", b"GET  / HTTP/1.1", b"\0\0\0"])
def test_what_is_no_request_is_400(start: bytes) -> None:
    assert asked(start + b"\r\n\r\n")[0] == 400


# Who does not come to an end


def test_a_head_that_is_too_long_is_cut_off_unanswered() -> None:
    async def test() -> None:
        async with serving() as address:
            with contextlib.suppress(ConnectionError):
                assert await ask(address, b"GET / HTTP/1.1\r\nX: ", b"x" * (4 * MAX_REQUEST)) == b""
            assert (await ask(address, b"GET / HTTP/1.1\r\n\r\n")).endswith(b"\r\n\r\nfront\n")

    run(test())


def test_a_slow_requester_is_cut_off_and_keeps_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_S", 0.2)

    async def test() -> None:
        async with serving() as address, asking(address) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nX: ")
            await writer.drain()
            assert (await ask(address, b"GET / HTTP/1.1\r\n\r\n")).endswith(b"front\n")
            assert await left(reader) == b""

    run(test())


def test_a_requester_who_does_not_read_his_page_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever asks often enough and reads nothing would have us keep page after page."""
    monkeypatch.setattr(http, "REQUEST_S", 0.2)

    async def test() -> None:
        made: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()

        def page() -> Page:
            made.put_nowait(asyncio.current_task())  # type: ignore[arg-type]
            return PAGES["/long"]()

        async with serving({"/long": page}) as address, asking(address) as (reader, writer):
            writer.transport.pause_reading()
            writer.write(b"GET /long HTTP/1.1\r\n\r\n")
            await asyncio.wait([await made.get()])
            writer.transport.resume_reading()
            assert len(await left(reader)) < 16_000_000

    run(test())


def test_a_requester_who_goes_away_harms_nobody() -> None:
    async def test() -> None:
        async with serving() as address:
            async with asking(address) as (_, writer):
                writer.write(b"GET / HT")
                await writer.drain()
            assert (await ask(address, b"GET / HTTP/1.1\r\n\r\n")).endswith(b"front\n")

    run(test())


def test_a_port_that_is_taken_is_said() -> None:
    async def test() -> None:
        async with serving() as address:
            with pytest.raises(OSError, match="ddress already in use"):
                await Http({}).listen(*address)

    run(test())
