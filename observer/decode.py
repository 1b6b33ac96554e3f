"""Captures to sightings: tshark dissects, we only read what it says.

It puts TCP's segments together, takes several messages out of one, opens TLS where it has the keys, and leaves out what
comes twice because TCP repeats it. A message is seen where its last byte is.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

KEYS = "tls.keys"  # in a run's folder: the secrets of its TLS connections, as Wireshark reads them

# Of tshark's 3,000 protocols some 250 claim ports: to them a call that comes from 2427 is MGCP, and sound at 30030
# often a mirror of Juniper's. A router, and a relay, may give out any port, so what is not listed here is not looked
# for, and what claims ports of its own is not listed (HTTP, SCTP, GRE, MPLS, VXLAN, LLC).
_ON_THE_WAY = (
    "frame", "eth", "ethertype", "vlan", "ieee8021ad", "sll", "null", "loop", "raw", "ppp", "pppoes", "chdlc", "nflog",
    "pflog", "ip", "ah", "ipv6", "ipv6.fraghdr", "ipv6.hopopts", "ipv6.dstopts", "ipv6.routing", "icmp", "icmpv6",
    "udp", "tcp", "tls", "sip", "rtp", "rtcp",
)  # fmt: skip
ONLY = ("-n", "--only-protocols", ",".join(_ON_THE_WAY), "--enable-heuristic", "rtp_udp")
_EACH_TAP = ".MI"  # a conversation to each interface: else the same segment, at a second tap, would be a repetition
_TELL = (
    "-T", "ek", "-J", "frame ip ipv6 udp tcp sip rtp rtcp",
    "-o", f"protocols.conversation_deinterlacing_key:{_EACH_TAP}",
)  # fmt: skip
DISSECT = (*ONLY, *_TELL)
# For captures in which SIP is wrapped in something else: tunnels, mirrored ports, the air.
DISSECT_ALL = ("-n", "--enable-heuristic", "rtp_udp", *_TELL)

_NUL = "00"
_LINE_ENDS = {"0d:0a": 1, "0d:0a:0d:0a": 2}  # payloads

Address = tuple[str, int]
Layers = dict[str, Any]


@dataclass(slots=True, frozen=True)
class Rtp:
    """What an RTP packet says of itself (RFC 3550 §5.1), and what it carries."""

    ssrc: str
    sequence: int
    timestamp: int  # of its first sample
    payload_type: int
    payload: bytes


@dataclass(slots=True)
class Sighting:
    """One SIP message at one tap, or one packet with none in it: that has `first_line` == ""."""

    time: float  # seconds since the epoch, on the host's one clock
    tap: str
    transport: str  # "udp", "tcp", "tls"; "" for what is neither UDP nor TCP
    source: Address
    destination: Address
    first_line: str
    method: str  # of the request, or of the request that a response answers
    status: int  # 0: a request
    request_uri: str
    call_id: str
    cseq: int
    vias: list[str]
    branches: list[str]
    contact: str
    record_routes: list[str]
    headers: list[str]
    body: str
    rtp: Rtp | None = None
    is_rtcp: bool = False
    crlf: int = 0  # how many line ends it is, and nothing else: a keep-alive

    @property
    def is_media(self) -> bool:
        """Say whether it is sound, or a report on it."""
        return self.rtp is not None or self.is_rtcp

    @property
    def is_sip(self) -> bool:
        """Say whether tshark found a SIP message in it."""
        return bool(self.first_line)

    @property
    def is_request(self) -> bool:
        """Say whether it is a SIP request."""
        return self.is_sip and self.status == 0


def decode(folder: Path, dissect: Sequence[str] = DISSECT) -> list[Sighting]:
    """Return what is in `<tap>.pcap` in a folder, in the order of time. Raises CalledProcessError.

    KEYS, if it is there, opens TLS.
    """
    merged = folder / "merged.pcapng"
    files = captures(folder)
    if not files:
        return []
    # -a: one after the other. In the order of time, fragments of one packet at two taps would be taken for each other.
    command = ["mergecap", "-a", "-I", "none", "-w", str(merged), *map(str, files)]
    subprocess.run(command, check=True, capture_output=True)
    command = ["tshark", "-r", str(merged), *dissect]
    if (folder / KEYS).exists():
        command += ["-o", f"tls.keylog_file:{folder / KEYS}"]
    try:
        found = list(read(_dissect(command), [file.stem for file in files]))
    finally:
        merged.unlink(missing_ok=True)
    return sorted(found, key=lambda sighting: sighting.time)


def captures(folder: Path) -> list[Path]:
    """Return the captures in a run's folder: `<tap>.pcap` of every tap that had something to listen to."""
    return sorted(folder.glob("*.pcap"))


def _dissect(command: list[str]) -> Iterator[str]:
    """Yield tshark's lines as it writes them. Raises CalledProcessError."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="backslashreplace"
    ) as tshark:
        assert tshark.stdout is not None
        yield from tshark.stdout
    if tshark.returncode != 0:
        raise subprocess.CalledProcessError(tshark.returncode, command)


def read(lines: Iterable[str], taps: Sequence[str]) -> Iterator[Sighting]:
    """Yield what tshark's lines (-T ek) tell of: of each packet all its SIP messages, or that it has none.

    `taps` are the names of its interfaces.
    """
    for line in lines:
        if line.startswith('{"timestamp"'):  # the lines between are an index that nobody here needs
            layers = json.loads(line)["layers"]
            if "ip" in layers or "ipv6" in layers:
                yield from _packet(layers, taps)


def _packet(layers: Layers, taps: Sequence[str]) -> Iterator[Sighting]:
    version = "ip" if "ip" in layers else "ipv6"
    ip = _all(layers[version])[-1]  # of a tunnel what is in it
    transport, ports, crlf = "", (0, 0), 0
    messages: list[Layers] = []
    if layers.keys() & {"icmp", "icmpv6"}:  # an ICMP error quotes what it complains about: that was not sent here
        ip = _all(layers[version])[0]
    else:
        transport = next((name for name in ("udp", "tcp") if name in layers), "")
        messages = _all(layers.get("sip"))
    if transport:
        carrier = _all(layers[transport])[-1 if transport == "udp" else 0]  # TCP's last may be what it was put together
        ports = int(carrier[f"{transport}_{transport}_srcport"]), int(carrier[f"{transport}_{transport}_dstport"])
        payload = carrier.get(f"{transport}_{transport}_payload", "")
        crlf = 0 if messages else _LINE_ENDS.get(payload, 0)
        if len(messages) == 1 and transport == "udp" and _NUL in payload:
            messages = [{**messages[0], "sip_sip_msg_hdr": _head(payload)}]
    frame = layers["frame"]
    for message in messages or [{}]:
        yield _sighting(
            message,
            time=datetime.fromisoformat(frame["frame_frame_time_epoch"]).timestamp(),
            tap=taps[int(frame["frame_frame_interface_id"])],
            transport="tls" if "tls" in layers else transport,
            source=(ip[f"{version}_{version}_src"], ports[0]),
            destination=(ip[f"{version}_{version}_dst"], ports[1]),
            rtp=_rtp(layers) if transport else None,
            is_rtcp=bool(transport) and "rtcp" in layers,
            crlf=crlf,
        )


def _head(payload: str) -> str:
    """Return the header lines of a message with a NUL in it, at which tshark ends what it says of them."""
    head = bytes.fromhex(payload.replace(":", "")).partition(b"\r\n\r\n")[0]
    return head.partition(b"\r\n")[2].decode("utf-8", "backslashreplace")


def _rtp(layers: Layers) -> Rtp | None:
    layer: Layers = next(iter(_all(layers.get("rtp"))), {})
    if "rtp_rtp_seq" not in layer:  # where SDP promised sound, and something else came
        return None
    named = ("ssrc", "seq", "timestamp", "p_type", "payload")
    ssrc, sequence, timestamp, payload_type, payload = (layer.get(f"rtp_rtp_{name}", "") for name in named)
    return Rtp(ssrc, int(sequence), int(timestamp), int(payload_type), bytes.fromhex(payload.replace(":", "")))


def _sighting(message: Layers, **where: Any) -> Sighting:
    def every(name: str) -> list[str]:
        return [str(value) for value in _all(message.get(f"sip_sip_{name}"))]

    def first(name: str) -> str:
        return next(iter(every(name)), "")

    body = bytes.fromhex(first("msg_body").replace(":", ""))
    return Sighting(
        **where,
        first_line=first("Request-Line") or first("Status-Line"),
        method=first("Method") or first("CSeq_method"),
        status=int(first("Status-Code") or 0),
        request_uri=first("r-uri"),
        call_id=first("Call-ID"),
        cseq=int(first("CSeq_seq") or 0),
        vias=every("Via"),
        branches=every("Via_branch"),
        contact=first("contact_uri"),
        record_routes=every("Record-Route"),
        headers=[line for line in first("msg_hdr").split("\r\n") if line],
        body=body.decode("utf-8", "backslashreplace"),
    )


def _all(value: Any) -> list[Any]:
    """Return what tshark writes as nothing, as one value, or as a list of them."""
    return value if isinstance(value, list) else [] if value is None else [value]
