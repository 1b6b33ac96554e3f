"""What is too much is left out call by call, and counted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from observer.view import feed
from observer.view.feed import BURST, Feed
from observer.view.tail import Packet


def packets(count: int, calls: int) -> list[Packet]:
    return [
        Packet("proxy", number, 0, 0, b"INVITE sip:x\r\nCall-ID: call-%d\r\n\r\n" % (number % calls))
        for number in range(count)
    ]


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[Packet]:
    """What the process is given."""
    given: list[Packet] = []

    class Tshark:
        fed = 0

        def __init__(self, keys: Path) -> None:
            pass

        def feed(self, packets: list[Packet]) -> None:
            given.extend(packets)

        def end(self) -> None:
            pass

    monkeypatch.setattr(feed, "Tshark", Tshark)
    return given


def test_what_there_is_room_for_passes(chosen: list[Packet]) -> None:
    fed = Feed(Path("/nowhere"))
    sent = packets(BURST // 2, 10)
    fed.feed(sent)
    assert chosen == sent
    assert fed.left_out == 0


def test_when_more_comes_whole_calls_are_left_out(chosen: list[Packet], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    fed = Feed(Path("/nowhere"))
    sent = 0
    for _ in range(100):  # ten seconds of five times as much as it takes
        fed.feed(packets(feed.MOST_A_SECOND // 2, 50))
        sent += feed.MOST_A_SECOND // 2
        now += 0.1
    assert len(chosen) <= BURST + 10 * feed.MOST_A_SECOND
    assert fed.left_out == sent - len(chosen)
    late = {bytes(packet.data) for packet in chosen[-100:]}
    assert 0 < len(late) < 25  # of fifty calls


def test_when_it_is_quiet_again_all_calls_are_shown(chosen: list[Packet], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    fed = Feed(Path("/nowhere"))
    for _ in range(50):
        fed.feed(packets(1000, 50))
        now += 0.1
    now += 60
    fed.feed([])
    before, chosen[:] = len(chosen), []
    fed.feed(packets(50, 50))
    assert before > 0
    assert len(chosen) == 50


def test_one_that_dies_is_followed_by_another(chosen: list[Packet], monkeypatch: pytest.MonkeyPatch) -> None:
    fed = Feed(Path("/nowhere"))
    fed.feed(packets(1, 1))

    def dead(_: object, __: object) -> None:
        raise BrokenPipeError

    with monkeypatch.context() as patch:
        patch.setattr(feed.Tshark, "feed", dead)
        fed.feed(packets(1, 1))
    fed.feed(packets(1, 1))
    assert len(chosen) == 2
