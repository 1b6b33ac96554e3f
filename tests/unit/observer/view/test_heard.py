"""Sound is counted while it is heard, as all taps saw it, and within bounds."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from observer.topology import Topology
from observer.view import heard, media, schema
from observer.view.heard import Heard
from observer.view.tail import Packet
from tests.unit.observer.sightings import TOPOLOGY

BEGAN = 1_700_000_000.0
WAY = ("alice", "nat-lan", "nat-wan", "proxy")


def sound(count: int, first: int = 0) -> list[Packet]:
    """Return so many packets at four taps, a millisecond from one to the next, 50 a second."""
    return [packet(tap, number, place) for number in range(first, first + count) for place, tap in enumerate(WAY)]


def packet(tap: str, number: int, place: int) -> Packet:
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 0, 0, 0, 64, 17, 0) + bytes(8)
    data = bytes(12) + b"\x08\x00" + ip + bytes(8) + struct.pack(">BBHII", 0x80, 0, number, number * 160, 7)
    micros = number * 20_000 + place * 1000
    return Packet(tap, int(BEGAN) + micros // 1_000_000, micros % 1_000_000, len(data), data)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[list[Packet]]:
    """What tshark is given to count; it is done at once."""
    given: list[list[Packet]] = []

    class AtOnce:
        def __init__(self, target: Callable[..., None], args: tuple[object, ...], daemon: bool) -> None:
            self.start = lambda: target(*args)

    def of_packets(packets: Iterable[Packet], _: Topology) -> list[schema.Media]:
        given.append(list(packets))
        return [{"tap": "alice"}]  # type: ignore[typeddict-item]

    monkeypatch.setattr(threading, "Thread", AtOnce)
    monkeypatch.setattr(media, "of_packets", of_packets)
    return given


def test_a_packet_on_its_way_is_not_lost(counted: list[list[Packet]]) -> None:
    live = Heard(TOPOLOGY, 0.0)
    live.add(sound(100))
    live.count(BEGAN + 20 * 0.020 + 0.0015 + heard.SETTLED_S)  # the 21st has been seen at two of four
    (given,) = counted
    assert {tap: sum(each.tap == tap for each in given) for tap in WAY} == dict.fromkeys(WAY, 21)
    assert live.news.is_set()


def test_what_was_not_counted_is_counted_later_and_then_no_more(counted: list[list[Packet]]) -> None:
    live = Heard(TOPOLOGY, 0.0)
    live.add(sound(100))
    for later in (heard.SETTLED_S, heard.SETTLED_S + 5, heard.SETTLED_S + 10):
        live._due = 0.0
        live.count(BEGAN + later)
    assert [len(given) for given in counted] == [len(WAY), 100 * len(WAY)]


def test_what_is_of_a_run_that_was_judged_is_not_counted(counted: list[list[Packet]]) -> None:
    live = Heard(TOPOLOGY, BEGAN + 0.5)
    live.add(sound(25))
    live.count(BEGAN + 10)
    assert counted == []
    live.add(sound(25, first=50))
    live.forget(BEGAN + 5)
    live.add(sound(25, first=100))
    live.count(BEGAN + 10)
    assert counted == []


def test_of_too_much_the_newest_is_kept_of_all_taps_and_it_is_said(
    counted: list[list[Packet]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heard, "MOST", 100)
    live = Heard(TOPOLOGY, 0.0)
    for first in range(0, 100, 5):
        live.add(sound(5, first))
        assert len(live._packets) <= 100
    live.count(BEGAN + 10)
    (given,) = counted
    kept = [{each.payload for each in given if each.tap == tap} for tap in WAY]
    assert kept == [kept[0]] * len(WAY)
    assert max(each.time for each in given) == max(each.time for each in sound(100))
    assert "more sound than can be counted" in live.note


def test_of_a_thousand_times_the_same_packet_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heard, "MOST", 10)
    live = Heard(TOPOLOGY, 0.0)
    one = packet("alice", 1, 0)
    live.add([replace(one, micros=number) for number in range(20)])
    assert live._packets == []
