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
SOME = range(1024, 65_536, 61)
SSRCS = 16
STARTED = 1_700_000_000.0
CLIENT_HELLO = bytes.fromhex("16030100040100000000")  # its beginning: a record, a handshake, no body (RFC 8446 §5.1)
EVERYTHING = ("-n", "--enable-heuristic", "rtp_udp")


@pytest.fixture(scope="module")
def ports(lab_settings: settings.Settings) -> list[int]:
    """Those that tshark gives to some protocol, and some of the others."""
    decodes = [line.split() for line in _tshark(lab_settings, b"", "-G", "decodes")]
    claimed = {int(words[1]) for words in decodes if words[0] in {"udp.port", "tcp.port"}}
    assert len(claimed) > 300
    return sorted({port for port in claimed if port >= SOME.start}.union(SOME))


def test_udp_at_every_port_is_what_it_is(lab_settings: settings.Settings, tmp_path: Path, ports: list[int]) -> None:
    capture = captures.write(tmp_path / "udp.pcap", _udp(ports))
    found = {"sip": len(ports), "rtp": 2 * SSRCS * len(ports), "rtcp": len(ports)}
    assert _protocols(lab_settings, capture, ONLY) == found
    assert _others(_protocols(lab_settings, capture, EVERYTHING)) > 1000  # who believes everybody is misled


def test_tcp_at_every_port_is_what_it_is(lab_settings: settings.Settings, tmp_path: Path, ports: list[int]) -> None:
    capture = captures.write(tmp_path / "tcp.pcap", _tcp(ports), "tcp")
    assert _protocols(lab_settings, capture, ONLY) == {"sip": len(ports), "tls": len(ports) - 1}
    assert _others(_protocols(lab_settings, capture, EVERYTHING)) > 10


def _udp(ports: list[int]) -> Iterator[captures.Packet]:
    """Yield from every port a request, sound of several sources, and a report."""
    for port in ports:
        time = STARTED + port / 1000
        yield time, (ROUTER, port), (PROXY, SIP), _options(port)
        for number in range(SSRCS):  # a random number, by which dissectors take sound for something else, or do not
            for sequence in range(2):
                sound = struct.pack(">BBHII", 0x80, 0, sequence, 160 * sequence, number << 28 | port)
                yield time, (PHONE, port), (PROXY, RELAY + 2 * number), sound + bytes([213]) * 160
        report = struct.pack(">BBHI", 0x80, 201, 1, port)  # a receiver's, with nothing received (RFC 3550 §6.4.2)
        yield time, (PHONE, port), (PROXY, RELAY + 1), report


def _tcp(ports: list[int]) -> Iterator[captures.Packet]:
    """Yield a request from every port, and the beginning of TLS from all but SIP's own, which is not for TLS."""
    for port in ports:
        time = STARTED + port / 1000
        yield time, (ROUTER, port), (PROXY, SIP), _options(port)
        if port != SIP:
            yield time, (ROUTER, port), (PROXY, SIPS), CLIENT_HELLO


def _options(port: int) -> bytes:
    return captures.message("OPTIONS sip:bob@example.org SIP/2.0", call=str(port), cseq="1 OPTIONS", branch=str(port))


def _protocols(lab_settings: settings.Settings, capture: Path, options: Sequence[str]) -> Counter[str]:
    """Return how many packets tshark takes for what."""
    told = _tshark(lab_settings, capture.read_bytes(), "-r", "-", *options, "-T", "fields", "-e", "frame.protocols")
    return Counter(line.removeprefix("eth:ethertype:ip:").partition(":")[2] for line in told)


def _tshark(lab_settings: settings.Settings, stdin: bytes, *options: str) -> list[str]:
    """Return the lines of the observer's tshark."""
    image = f"sip-nat-lab/observer:{lab_settings.values['LAB_TAG']}"
    command = ["docker", "run", "--rm", "--interactive", "--network", "none", "--entrypoint", "tshark", image, *options]
    return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout.decode().splitlines()


def _others(found: Counter[str]) -> int:
    return sum(count for name, count in found.items() if name not in {"sip", "rtp", "rtcp", "tls"})
