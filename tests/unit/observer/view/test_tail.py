"""Captures that grow become one stream of pcapng, each packet once."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from observer.view import tail
from observer.view.tail import Packet, Tail

HEAD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)


def record(number: int, data: bytes = b"", time: float | None = None) -> bytes:
    """Return a packet as a capture has it."""
    body = data or b"packet %d" % number
    seconds = float(number) if time is None else time
    return struct.pack("<IIII", int(seconds), round(seconds % 1 * 1e6), len(body), len(body)) + body


Follow = Callable[..., Tail]


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Follows a folder; lets go of it at the end."""
    following: list[Tail] = []

    def begin(folder: Path, *before: Path) -> Tail:
        following.append(Tail(folder, before))
        return following[-1]

    yield begin
    for each in following:
        each.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "captures"
    made.mkdir()
    return made


def numbers(packets: list[Packet]) -> list[int]:
    return [packet.seconds for packet in packets]


def test_what_is_written_comes_when_it_is_whole(follow: Follow, folder: Path) -> None:
    path = folder / "nat-lan-1.pcap"
    following = follow(folder)
    path.write_bytes(HEAD[:10])
    assert following.packets() == []
    whole = HEAD + record(1) + record(2)
    for end in range(10, len(whole) + 1):
        path.write_bytes(whole[:end])
        if end < len(HEAD + record(1)):
            assert following.packets() == []
    assert numbers(following.packets()) == [1, 2]
    assert following.packets() == []


def test_a_capture_that_is_cut_is_read_to_its_end(follow: Follow, folder: Path, tmp_path: Path) -> None:
    first, second = folder / "proxy-1.pcap", folder / "proxy-2.pcap"
    first.write_bytes(HEAD + record(1))
    following = follow(folder)
    assert numbers(following.packets()) == [1]
    with first.open("ab") as growing:
        second.write_bytes(HEAD + record(2) + record(3))  # the next runs before the last one ends
        growing.write(record(2))
    first.rename(tmp_path / "proxy.pcap")
    assert sorted(numbers(following.packets())) == [2, 3]
    assert following.packets() == []


def test_what_is_sent_twice_comes_twice(follow: Follow, folder: Path) -> None:
    (folder / "proxy-1.pcap").write_bytes(HEAD + record(1, b"same", 1.0) + record(1, b"same", 1.01))
    assert len(follow(folder).packets()) == 2


def test_finished_captures_come_first(follow: Follow, folder: Path, tmp_path: Path) -> None:
    before = tmp_path / "proxy.pcap"
    before.write_bytes(HEAD + record(1))
    (folder / "proxy-2.pcap").write_bytes(HEAD + record(2))
    assert [(packet.tap, packet.seconds) for packet in follow(folder, before).packets()] == [("proxy", 1), ("proxy", 2)]


def test_of_a_large_capture_the_end_is_read(follow: Follow, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "AT_FIRST_BYTES", 100)
    monkeypatch.setattr(tail, "AT_ONCE_BYTES", 200)
    (folder / "proxy-1.pcap").write_bytes(HEAD + b"".join(record(number) for number in range(100)))
    following = follow(folder)
    seen = numbers(following.packets()) + numbers(following.packets())
    assert seen[-1] == 99
    assert 3 < len(seen) < 10


def test_other_files_are_none_of_ours(follow: Follow, folder: Path) -> None:
    (folder / "before").mkdir()
    (folder / "notes.txt").write_text("x")
    assert follow(folder).packets() == []
    assert follow(folder / "nowhere").packets() == []


def test_blocks_are_of_whole_words_and_bear_time_and_interface() -> None:
    made = tail.block(Packet("proxy", 1_700_000_000, 123_456, 70, b"12345"), 3)
    kind, size = struct.unpack_from("<II", made)
    interface, high, low, held, whole = struct.unpack_from("<IIIII", made, 8)
    assert (kind, size, len(made) % 4, struct.unpack("<I", made[-4:])[0]) == (6, len(made), 0, len(made))
    assert (interface, (high << 32) + low, held, whole) == (3, 1_700_000_000_123_456, 5, 70)
    assert made[28:33] == b"12345"
    assert tail.section()[:4] == b"\x0a\x0d\x0d\x0a"
    assert len(tail.interface()) == 20


def test_media_is_told_from_messages() -> None:
    ip = b"\x45" + bytes(8) + b"\x11" + bytes(10)

    def packet(payload: bytes, ethertype: bytes = b"\x08\x00") -> Packet:
        return Packet("proxy", 0, 0, 0, bytes(12) + ethertype + ip + bytes(8) + payload)

    assert packet(b"\x80\x00").is_media
    assert packet(b"\x90\xc8").is_media
    assert not packet(b"INVITE").is_media
    assert not packet(b"\r\n\r\n").is_media
    assert not packet(b"\x80", b"\x86\xdd").is_media
    assert not packet(b"").is_media


def test_a_capture_is_known_to_have_media_without_tshark(tmp_path: Path) -> None:
    sound = bytes(12) + b"\x08\x00\x45" + bytes(8) + b"\x11" + bytes(10) + bytes(8) + b"\x80\x00"
    for name, data, wanted in (("one", b"x" * 60, False), ("other", sound, True)):
        path = tmp_path / f"{name}.pcap"
        path.write_bytes(HEAD + record(1) + record(2, data))
        assert tail.has_media(path) == wanted
