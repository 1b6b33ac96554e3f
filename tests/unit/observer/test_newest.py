"""Captures that are too large lose what is oldest, all of them up to the same moment; others are left alone."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from observer import newest
from tests.e2e import captures

START = 1_700_000_000.0


def capture(path: Path, count: int, every_s: float, size: int = 200) -> Path:
    packets = [(START + number * every_s, captures.PHONE, captures.SERVER, bytes(size)) for number in range(count)]
    return captures.write(path, packets)


def times(path: Path) -> list[float]:
    found, data = [], path.read_bytes()
    at = 24
    while at < len(data):
        seconds, micros, length, _ = struct.unpack_from("<IIII", data, at)
        found.append(seconds + micros / 1e6)
        at += 16 + length
    return found


def test_what_fits_is_left_as_it_is(tmp_path: Path) -> None:
    whole = capture(tmp_path / "a.pcap", 100, 0.1).read_bytes()
    assert newest.keep([tmp_path / "a.pcap"], most_bytes=len(whole)) == 0.0
    assert (tmp_path / "a.pcap").read_bytes() == whole


@pytest.mark.parametrize("most", [1_000, 20_000, 60_000])
def test_all_begin_at_the_same_moment_and_end_as_before(tmp_path: Path, most: int) -> None:
    paths = [capture(tmp_path / f"{name}.pcap", count, 30 / count) for name, count in (("a", 300), ("b", 40))]
    before = [times(path) for path in paths]
    since = newest.keep(paths, most_bytes=most)
    for path, had in zip(paths, before, strict=True):
        assert times(path) == [time for time in had if time >= since]
    assert 0.6 * most < sum(path.stat().st_size for path in paths) <= most
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pcap", "b.pcap"]


def test_what_is_wanted_is_left_however_much_it_is(tmp_path: Path) -> None:
    path = capture(tmp_path / "a.pcap", 100, 1.0)
    assert newest.keep([path], START + 20, most_bytes=1_000) == START + 20
    assert times(path) == [START + number for number in range(20, 100)]


def test_where_the_last_moment_is_too_much_nothing_is_left(tmp_path: Path) -> None:
    path = capture(tmp_path / "a.pcap", 100, 0.0)
    assert newest.keep([path], most_bytes=1_000) > START
    assert times(path) == []


def test_a_capture_without_packets_and_one_that_is_being_written_are_read(tmp_path: Path) -> None:
    empty, cut = capture(tmp_path / "empty.pcap", 0, 0.1), capture(tmp_path / "cut.pcap", 100, 0.1)
    cut.write_bytes(cut.read_bytes()[:-50])
    nothing = tmp_path / "nothing.pcap"
    nothing.touch()
    assert newest.keep([empty, cut, nothing], most_bytes=10_000) > START
    assert len(empty.read_bytes()) == 24
