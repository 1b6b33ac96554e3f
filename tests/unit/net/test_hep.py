"""The mirror: chunks as HEP3 has them, both families; a collector that is away costs nothing but copies."""

from __future__ import annotations

import socket
import struct

import pytest

from proxy.core.flow import Flow
from proxy.net import hep
from proxy.net.hep import Mirror, encode

MESSAGE = b"OPTIONS sip:a@example.org SIP/2.0\r\n\r\n"
FOUR = Flow("udp", ("198.51.100.10", 5060), ("198.51.100.20", 50_003))
SIX = Flow("tls", ("2001:db8::10", 5061), ("2001:db8::20", 50_004), 7)


def chunks(datagram: bytes) -> dict[int, bytes]:
    """Take a datagram apart as its receiver does."""
    assert datagram[:4] == b"HEP3"
    assert int.from_bytes(datagram[4:6], "big") == len(datagram)
    found, at = {}, 6
    while at < len(datagram):
        vendor, kind, length = struct.unpack_from("!HHH", datagram, at)
        assert vendor == 0
        found[kind] = datagram[at + 6 : at + length]
        at += length
    return found


def test_a_message_is_told_with_where_from_where_to_and_when() -> None:
    found = chunks(encode(MESSAGE, FOUR.remote, FOUR.local, "udp", 1_700_000_000.25))
    assert found == {
        1: b"\x02", 2: b"\x11", 3: bytes((198, 51, 100, 20)), 4: bytes((198, 51, 100, 10)),
        7: (50_003).to_bytes(2, "big"), 8: (5060).to_bytes(2, "big"), 9: (1_700_000_000).to_bytes(4, "big"),
        10: (250_000).to_bytes(4, "big"), 11: b"\x01", 12: hep.AGENT.to_bytes(4, "big"), 15: MESSAGE,
    }  # fmt: skip


def test_six_is_a_family_of_its_own_and_tls_is_carried_by_tcp() -> None:
    found = chunks(encode(MESSAGE, SIX.remote, SIX.local, "tls", 0.0))
    assert (found[1], found[2]) == (b"\x0a", b"\x06")
    assert socket.inet_ntop(socket.AF_INET6, found[5]) == "2001:db8::20"
    assert socket.inet_ntop(socket.AF_INET6, found[6]) == "2001:db8::10"
    assert 3 not in found


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_comes_and_what_goes_is_mirrored(host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind((host, 0))
        collector.settimeout(5)
        mirror = Mirror(collector.getsockname()[:2])
        mirror.received(MESSAGE, FOUR, 1.0)
        mirror.sent(MESSAGE, FOUR, 2.0)
        came, went = (chunks(collector.recv(65_535)) for _ in range(2))
        mirror.close()
    assert (came[7], came[8]) == (went[8], went[7])
    assert (came[9][-1], went[9][-1]) == (1, 2)


def test_a_collector_that_is_away_is_counted_and_nothing_else() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = nobody.getsockname()
    mirror = Mirror(address)
    for _ in range(20):
        mirror.received(MESSAGE, FOUR, 1.0)
    mirror.received(b"x" * 65_536, FOUR, 1.0)
    mirror.close()
    mirror.received(MESSAGE, FOUR, 1.0)
    assert mirror.lost >= 2
