"""Captures to sightings: tshark dissects, we only read what it says."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from observer.topology import TAPS

_FIELDS = (
    "frame.interface_id", "frame.time_epoch", "ip.src", "udp.srcport", "ip.dst", "udp.dstport", "icmp.type",
    "sip.Request-Line", "sip.Status-Line", "sip.Method", "sip.r-uri", "sip.Status-Code", "sip.Call-ID",
    "sip.CSeq.seq", "sip.CSeq.method", "sip.Via", "sip.Via.branch", "sip.contact.uri", "sip.Record-Route",
    "udp.payload",
)  # fmt: skip
_MANY = "\x1f"  # between the values of a field that occurs more than once

Address = tuple[str, int]


@dataclass(slots=True)
class Sighting:
    """One packet at one tap. What is no SIP message has `first_line` == ""."""

    time: float  # seconds since the epoch, on the host's one clock
    tap: str
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

    @property
    def is_sip(self) -> bool:
        """Say whether tshark found a SIP message in it."""
        return bool(self.first_line)

    @property
    def is_request(self) -> bool:
        """Say whether it is a SIP request."""
        return self.is_sip and self.status == 0


def decode(folder: Path) -> list[Sighting]:
    """Return all IP packets of `<tap>.pcap` in a folder, in the order of time. Raises CalledProcessError."""
    merged = folder / "merged.pcapng"
    files = [str(folder / f"{tap}.pcap") for tap in TAPS]
    _run(["mergecap", "-I", "none", "-w", str(merged), *files])
    try:
        wanted = [argument for field in _FIELDS for argument in ("-e", field)]
        lines = _run(
            ["tshark", "-n", "-r", str(merged), "-T", "fields", "-E", "separator=/t", "-E", f"aggregator={_MANY}",
             *wanted]
        )  # fmt: skip
    finally:
        merged.unlink(missing_ok=True)
    sightings = [_sighting(line.split("\t")) for line in lines.split("\n") if line]
    return sorted((sighting for sighting in sightings if sighting is not None), key=lambda sighting: sighting.time)


def _sighting(values: list[str]) -> Sighting | None:
    row = dict(zip(_FIELDS, values, strict=True))
    first = {name: value.split(_MANY)[0] for name, value in row.items()}
    if not first["ip.src"]:
        return None
    if row["icmp.type"]:  # an ICMP error quotes the packet that it complains about: that one is not what was sent here
        quoted = {name for name in _FIELDS if name.startswith(("udp.", "sip."))}
        row |= dict.fromkeys(quoted, "")
        first |= dict.fromkeys(quoted, "")
    head, _, body = bytes.fromhex(first["udp.payload"]).partition(b"\r\n\r\n")
    lines = head.decode("utf-8", "backslashreplace").split("\r\n")
    return Sighting(
        time=float(first["frame.time_epoch"]),
        tap=TAPS[int(first["frame.interface_id"])],
        source=(first["ip.src"], int(first["udp.srcport"] or 0)),
        destination=(first["ip.dst"], int(first["udp.dstport"] or 0)),
        first_line=first["sip.Request-Line"] or first["sip.Status-Line"],
        method=first["sip.Method"] or first["sip.CSeq.method"],
        status=int(first["sip.Status-Code"] or 0),
        request_uri=first["sip.r-uri"],
        call_id=first["sip.Call-ID"],
        cseq=int(first["sip.CSeq.seq"] or 0),
        vias=[via for via in row["sip.Via"].split(_MANY) if via],
        branches=[branch for branch in row["sip.Via.branch"].split(_MANY) if branch],
        contact=first["sip.contact.uri"],
        record_routes=[route for route in row["sip.Record-Route"].split(_MANY) if route],
        headers=lines[1:],
        body=body.decode("utf-8", "backslashreplace"),
    )


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, errors="backslashreplace").stdout
