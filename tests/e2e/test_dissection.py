"""What tshark makes of packets at any port: a router, and a relay, may give out each of them."""

from __future__ import annotations

import struct
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from labkit import settings
from observer.decode import ONLY
from tests.e2e import captures

pytestmark = pytest.mark.e2e

PHONE, ROUTER, PROXY = "10.77.1.100", "198.51.100.20", "198.51.100.10"
SIP, SIPS, RELAY = 5060, 5061, 30_000
PORTS = range(1024, 65_536)
STARTED = 1_700_000_000.0
CLIENT_HELLO = bytes.fromhex("16030100040100000000")  # its beginning: a record, a handshake, no body (RFC 8446 §5.1)
EVERYTHING = ("-n", "--enable-heuristic", "rtp_udp")


def test_udp_at_every_port_is_what_it_is(lab_settings: settings.Settings, tmp_path: Path) -> None:
    capture = captures.write(tmp_path / "udp.pcap", _udp())
    assert _protocols(lab_settings, capture, ONLY) == {"sip": len(PORTS), "rtp": 2 * len(PORTS), "rtcp": len(PORTS)}
    assert _others(_protocols(lab_settings, capture, EVERYTHING)) > 100  # who believes everybody is misled


def test_tcp_at_every_port_is_what_it_is(lab_settings: settings.Settings, tmp_path: Path) -> None:
    capture = captures.write(tmp_path / "tcp.pcap", _tcp(), "tcp")
    assert _protocols(lab_settings, capture, ONLY) == {"sip": len(PORTS), "tls": len(PORTS) - 1}
    assert _others(_protocols(lab_settings, capture, EVERYTHING)) > 10


def _udp() -> Iterator[captures.Packet]:
    """Yield a request, two packets of sound and a report from every port. An SSRC is a random number."""
    for port in PORTS:
        time = STARTED + port / 1000
        yield time, (ROUTER, port), (PROXY, SIP), _options(port)
        ssrc = (port % 16) << 28 | port
        for number in range(2):
            sound = struct.pack(">BBHII", 0x80, 0, number, 160 * number, ssrc) + bytes([213]) * 160
            yield time, (PHONE, port), (PROXY, RELAY), sound
        report = struct.pack(">BBHI", 0x80, 201, 1, ssrc)  # a receiver's, with nothing received (RFC 3550 §6.4.2)
        yield time, (PHONE, port), (PROXY, RELAY + 1), report


def _tcp() -> Iterator[captures.Packet]:
    """Yield a request from every port, and the beginning of TLS from all but SIP's own, which is not for TLS."""
    for port in PORTS:
        time = STARTED + port / 1000
        yield time, (ROUTER, port), (PROXY, SIP), _options(port)
        if port != SIP:
            yield time, (ROUTER, port), (PROXY, SIPS), CLIENT_HELLO


def _options(port: int) -> bytes:
    return captures.message("OPTIONS sip:bob@example.org SIP/2.0", call=str(port), cseq="1 OPTIONS", branch=str(port))


def _protocols(lab_settings: settings.Settings, capture: Path, options: Sequence[str]) -> Counter[str]:
    """Return how many packets tshark takes for what."""
    read = subprocess.run(
        ["docker", "run", "--rm", "--interactive", "--network", "none", "--entrypoint", "tshark",
         f"sip-nat-lab/observer:{lab_settings.values['LAB_TAG']}", "-r", "-", *options,
         "-T", "fields", "-e", "frame.protocols"],
        input=capture.read_bytes(), capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    return Counter(line.removeprefix("eth:ethertype:ip:").partition(":")[2] for line in read.splitlines())


def _others(found: Counter[str]) -> int:
    return sum(count for name, count in found.items() if name not in {"sip", "rtp", "rtcp", "tls"})
