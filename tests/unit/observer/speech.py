"""A call with sound in it, as the taps see it: Alice's call to Bob, through the relay or straight, made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from observer import sound
from observer.case import Case
from observer.decode import Address, Rtp, Sighting
from tests.unit.observer.sightings import (
    PROXY,
    Wire,
    alice_calls,
    case,
    leg,
    lines,
    sighting,
    via_bob,
)

HERS, HIS, OUTSIDE = ("10.77.1.100", 40000), ("198.51.100.200", 40000), ("198.51.100.20", 50999)
TO_HER, TO_HIM = ("198.51.100.10", 30000), ("198.51.100.10", 30002)  # the relay's ports
RELAYED = {
    "alice": [("alice", HERS, TO_HER), ("nat-lan", HERS, TO_HER), ("nat-wan", OUTSIDE, TO_HER),
              ("proxy", OUTSIDE, TO_HER), ("proxy", TO_HIM, HIS), ("bob", TO_HIM, HIS)],
    "bob": [("bob", HIS, TO_HIM), ("proxy", HIS, TO_HIM), ("proxy", TO_HER, OUTSIDE), ("nat-wan", TO_HER, OUTSIDE),
            ("nat-lan", TO_HER, HERS), ("alice", TO_HER, HERS)],
}  # fmt: skip
STRAIGHT = {
    "alice": [("alice", HERS, HIS), ("nat-lan", HERS, HIS), ("nat-wan", OUTSIDE, HIS), ("bob", OUTSIDE, HIS)],
    "bob": [("bob", HIS, HERS), ("core", HIS, HERS)],
}
STEP_S = 0.0001  # between two packets, and 1/50 of it between two taps
SSRC = "0x1c"  # both phones have the same: two SIPps that start in one second do

Way = Sequence[tuple[str, Address, Address]]


def sdp(address: Address) -> str:
    """Return a session description that wants sound to go there."""
    here = f"IN IP4 {address[0]}"
    return f"v=0\r\no=- 1 1 {here}\r\ns=-\r\nc={here}\r\nt=0 0\r\nm=audio {address[1]} RTP/AVP 0\r\n"


def call(is_relayed: bool = True) -> list[Sighting]:
    """Return the SIP of Alice's call: each is told the other's own address, or the relay's."""
    wire = Wire()
    alice_calls(wire)
    return [_described(seen, is_relayed) for seen in wire.sightings]


def _described(seen: Sighting, is_relayed: bool) -> Sighting:
    is_offer = seen.is_request and seen.method == "INVITE"
    if (not is_offer and seen.first_line != "SIP/2.0 200 OK") or seen.method != "INVITE":
        return seen
    own, others = (HERS, TO_HIM) if is_offer else (HIS, TO_HER)
    from_proxy = seen.source == PROXY
    return replace(seen, body=sdp(others if from_proxy and is_relayed else own))


def stream(speaker: str, way: Way, pcmu: bytes | None = None, **fields: Any) -> list[Sighting]:
    """Return what is played, as each tap on the way sees it: the speaker's recording, but for what is given.

    `fields` are those of Rtp that are otherwise, or `first`: the number of the first packet.
    """
    pcmu = sound.recording(speaker) if pcmu is None else pcmu
    first = fields.pop("first", 0)
    begin = next(seen.time for seen in call() if seen.method == "ACK")
    found = []
    for number, start in enumerate(range(0, len(pcmu), sound.PACKET)):
        sequence = (first + number) % 65536
        rtp = Rtp(SSRC, sequence, 8000 + start, 0, pcmu[start : start + sound.PACKET])
        for hop, (tap, source, destination) in enumerate(way):
            time = begin + (number + hop / 50) * STEP_S
            found.append(packet(tap, source, destination, replace(rtp, **fields), time))
    return found


def packet(tap: str, source: Address, destination: Address, rtp: Rtp | None, time: float = 0.0) -> Sighting:
    """Return a packet of sound at a tap."""
    bare = sighting(tap, source, destination, *lines("BYE sip:x SIP/2.0", [via_bob("b")], "c", "1 BYE"), time=time)
    empty = {"first_line": "", "method": "", "call_id": "", "cseq": 0, "request_uri": ""}
    return replace(bare, **empty, vias=[], branches=[], headers=[], rtp=rtp)  # type: ignore[arg-type]


def heard(
    hers: list[Sighting] | None = None, his: list[Sighting] | None = None, is_relayed: bool = True, **given: Any
) -> Case:
    """Return the case of a call in which all is heard, but for what is given: what Alice's phone says, and Bob's."""
    ways = RELAYED if is_relayed else STRAIGHT
    hers = stream("alice", ways["alice"]) if hers is None else hers
    his = stream("bob", ways["bob"]) if his is None else his
    sightings = sorted([*call(is_relayed), *hers, *his], key=lambda seen: seen.time)
    legs = given.pop("legs", [{**leg("alice", "bob"), "audio": True}])
    return case(sightings=sightings, legs=legs, **given)


def without(sightings: list[Sighting], where: Callable[[Sighting], bool]) -> list[Sighting]:
    """Return these without those that fit. Raises ValueError when none does."""
    kept = [seen for seen in sightings if not where(seen)]
    if len(kept) == len(sightings):
        raise ValueError("no sighting fits")
    return kept


def is_packet(*numbers: int, taps: Sequence[str] = ()) -> Callable[[Sighting], bool]:
    """Return what says whether a sighting is one of these packets, at these taps or at any."""
    return lambda seen: seen.rtp is not None and seen.rtp.sequence in numbers and (not taps or seen.tap in taps)


