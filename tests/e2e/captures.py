"""Captures made by hand: packets with whatever bytes in them, as somebody might bring or send them."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)
Address = tuple[str, int]
Packet = tuple[float, Address, Address, bytes]  # seconds since the epoch, from, to, what is in it


def write(path: Path, packets: Iterable[Packet], transport: str = "udp", *, is_mirrored: bool = False) -> Path:
    """Write a capture of Ethernet frames. Of "tcp" each packet is the first segment of its connection.

    With `is_mirrored` they come by GRE (RFC 2784), from a switch that sends copies of what passes it.
    """
    path.write_bytes(HEADER + b"".join(_record(transport, is_mirrored, *packet) for packet in packets))
    return path


def _record(
    transport: str, is_mirrored: bool, time: float, source: Address, destination: Address, payload: bytes
) -> bytes:  # fmt: skip
    ports = struct.pack(">HH", source[1], destination[1])
    if transport == "udp":
        number, carried = socket.IPPROTO_UDP, ports + struct.pack(">HH", 8 + len(payload), 0) + payload
    else:
        # Sequence and acknowledgement 1, a header of five words, PSH and ACK (RFC 9293 §3.1).
        number, carried = socket.IPPROTO_TCP, ports + struct.pack(">IIHHHH", 1, 1, 0x5018, 65_535, 0, 0) + payload
    ip = _ip(source[0], destination[0], number, carried)
    if is_mirrored:
        ip = _ip("192.168.0.1", "192.168.0.2", socket.IPPROTO_GRE, b"\x00\x00\x08\x00" + ip)
    frame = bytes(12) + b"\x08\x00" + ip
    return struct.pack("<IIII", int(time), round(time % 1 * 1e6), len(frame), len(frame)) + frame


def _ip(source: str, destination: str, number: int, carried: bytes) -> bytes:
    ends = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(destination).packed
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(carried), 1, 0, 64, number, 0) + ends + carried


def message(
    first_line: str, *headers: str | bytes, call: str = "one", cseq: str = "1 INVITE", branch: str = "a"
) -> bytes:  # fmt: skip
    """Return a SIP message, with what every one must have."""
    lines: list[bytes] = [
        first_line.encode(), f"Via: SIP/2.0/UDP 10.0.0.5:5060;rport;branch=z9hG4bK{branch}".encode(),
        b"From: <sip:alice@example.org>;tag=1", b"To: <sip:bob@example.org>", f"Call-ID: {call}".encode(),
        f"CSeq: {cseq}".encode(), b"Max-Forwards: 70",
    ]  # fmt: skip
    lines += [each if isinstance(each, bytes) else each.encode() for each in headers]
    return b"\r\n".join([*lines, b"Content-Length: 0", b"", b""])


PHONE, ROUTER, SERVER = ("10.0.0.5", 5060), ("198.51.100.7", 40_000), ("198.51.100.9", 5060)
SCRIPT = "<script>window.hostile = 1</script><img src=x onerror='window.hostile = 2'>"


def hostile() -> list[Packet]:
    """Return a call in which every text wants to be something else."""
    sent = message(
        "INVITE sip:bob@example.org SIP/2.0", f"Subject: {SCRIPT}", f"Contact: <sip:\"></svg>{SCRIPT}@10.0.0.5>",
        b"X-Bytes: \xff\xfe\xc3\x28 \xe2\x80\xae reversed", "X-Long: " + "A" * 60_000, "X-End: </script></style>-->",
        call=f"{SCRIPT}@hostile",
    )  # fmt: skip
    other = message(
        "MESSAGE sip:</text><script>window.hostile=3</script>@example.org SIP/2.0", f"{SCRIPT}: name",
        b"X-Nothing: \x00\x1b[31m", call="two", cseq="1 MESSAGE", branch="b",
    )  # fmt: skip
    answer = message(f"SIP/2.0 200 {SCRIPT}", call=f"{SCRIPT}@hostile")
    return [
        (1_700_000_000.0, PHONE, SERVER, sent), (1_700_000_000.2, SERVER, PHONE, answer),
        (1_700_000_001.0, PHONE, SERVER, other),
    ]  # fmt: skip


def calls(count: int) -> list[Packet]:
    """Return so many whole calls, one after another: seven messages each."""
    found: list[Packet] = []
    for number in range(count):
        call, start = f"call-{number}", 1_700_000_000.0 + number
        for step, (line, cseq, is_hers) in enumerate((
            ("INVITE sip:bob@example.org SIP/2.0", "1 INVITE", True), ("SIP/2.0 100 Trying", "1 INVITE", False),
            ("SIP/2.0 180 Ringing", "1 INVITE", False), ("SIP/2.0 200 OK", "1 INVITE", False),
            ("ACK sip:bob@example.org SIP/2.0", "1 ACK", True), ("BYE sip:bob@example.org SIP/2.0", "2 BYE", True),
            ("SIP/2.0 200 OK", "2 BYE", False),
        )):  # fmt: skip
            branch = f"{number}-{cseq.partition(' ')[2]}"
            ends = (PHONE, SERVER) if is_hers else (SERVER, PHONE)
            found.append((start + step / 100, *ends, message(line, call=call, cseq=cseq, branch=branch)))
    return found


def line_ends(count: int) -> list[Packet]:
    """Return so many keep-alives with their answers (RFC 5626 §3.5.1)."""
    start = 1_700_000_100.0
    return [
        packet
        for number in range(count)
        for packet in (
            (start + 25 * number, PHONE, SERVER, b"\r\n\r\n"), (start + 25 * number + 0.01, SERVER, PHONE, b"\r\n")
        )
    ]  # fmt: skip


def through_router(packets: Iterable[Packet], ahead: float = 0.0) -> list[Packet]:
    """Return the same packets as they are outside a router, by a clock that is so many seconds ahead."""
    swap = {PHONE: ROUTER}
    later = {PHONE: 0.001, SERVER: -0.001}  # what comes in was outside before
    return [
        (time + later[source] + ahead, swap.get(source, source), swap.get(destination, destination), payload)
        for time, source, destination, payload in packets
    ]
