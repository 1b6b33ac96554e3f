"""The live page's server: who may ask, and what he is told."""

from __future__ import annotations

import http.client
import json
import queue
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from observer.view import server
from observer.view.model import empty
from observer.view.server import Desk, Handler
from tests.unit.observer.sightings import TOPOLOGY
from tests.unit.observer.view.views import drawn


@pytest.fixture
def desk() -> Desk:
    return Desk(TOPOLOGY)


@pytest.fixture
def port(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(Handler, "desk", desk, raising=False)
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving.daemon_threads = True
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield serving.server_address[1]
    serving.shutdown()
    serving.server_close()


def get(port: int, path: str = "/", host: str = "localhost") -> http.client.HTTPResponse:
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    asking.request("GET", path, headers={"Host": host})
    return asking.getresponse()


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1234", "[::1]:8080", "LOCALHOST:8080"])
def test_this_machine_gets_the_page_and_its_policy(port: int, host: str) -> None:
    with get(port, host=host) as answer:
        assert answer.status == 200
        assert "script-src 'sha256-" in (answer.getheader("Content-Security-Policy") or "")
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert b'data-live="yes"' in answer.read()


@pytest.mark.parametrize("host", ["calls.example.org", "localhost.example.org", "198.51.100.9:8080", ""])
def test_a_page_by_another_name_is_refused(port: int, host: str) -> None:
    for path in ("/", "/events"):
        with get(port, path, host) as answer:
            assert answer.status == 403


def test_there_is_nothing_else(port: int) -> None:
    for path in ("/../etc/passwd", "/lab/out", "/events/x", "/?x"):
        with get(port, path) as answer:
            assert answer.status == 404


def test_who_looks_gets_the_whole_and_then_what_is_new(desk: Desk, port: int) -> None:
    with get(port, "/events") as answer:
        assert answer.getheader("Content-Type") == "text/event-stream"
        while not desk._watchers:
            pass
        desk._tell(drawn(), None)
        assert answer.readline() == b"event: whole\n"
        assert len(json.loads(answer.readline().removeprefix(b"data: "))["calls"]) == 3
        assert answer.readline() == b"\n"
        desk._tell(None, empty())
        assert answer.readline() == b"event: news\n"


def test_who_is_too_slow_misses_the_news_and_gets_the_whole(desk: Desk) -> None:
    waiting = desk.join()
    assert waiting is not None
    desk._tell(drawn(), None)
    for _ in range(server.MOST_WAITING + 5):
        desk._tell(None, empty())
    assert waiting in desk._new
    desk._tell(drawn(), None)
    told = []
    while not waiting.empty():
        told.append(waiting.get().splitlines()[0])
    assert "event: whole" in told


def test_not_more_than_so_many_may_look(desk: Desk) -> None:
    waiting = [desk.join() for _ in range(server.MOST_WATCHERS)]
    assert all(isinstance(one, queue.Queue) for one in waiting)
    assert desk.join() is None
    assert waiting[0] is not None
    desk.leave(waiting[0])
    assert desk.join() is not None
