"""How each axis of a router is measured, by sockets behind it and a reflector outside (RFC 4787, RFC 5780).

Nothing waits where the order of packets decides: what is asked last is answered last. What a lost packet would show as
well as a filter is asked twice. Values are in the words of `kinds.py`. Every function raises Silence.
"""

from __future__ import annotations

import base64
import ipaddress
import secrets
import sys
import time

from nat.prober import Address, Prober

BLOCK_UP_TO = 4  # sockets of one host: a phone has one for SIP and two for RTP
BIG = 3000  # bytes: two fragments more than a packet on Ethernet holds
MOST_HOPS, FAR = 6, 64
PROVIDER = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598
TWICE = range(2)


def mapping(seen: list[Address], own: Address) -> str:
    """Name the mapping from what sockets (A1 p1, A1 p2, A2 p1, A2 p2) saw of one socket of ours."""
    if set(seen) == {own}:
        return "none"
    if len(set(seen)) == 1:
        return "endpoint-independent"
    if seen[0] == seen[1] and seen[2] == seen[3]:
        return "address-dependent"
    return "address-and-port-dependent"


def filtering(fresh: Prober) -> str:
    """Name the filtering: we speak to socket 0 only, who else gets through? And to a port that has never spoken?"""
    heard = [answer.get("from") for _ in TWICE for answer, _ in fresh.ask(0, ask="others")[1]]
    if 2 not in heard and 3 not in heard:
        return "address-dependent" if 1 in heard else "address-and-port-dependent"
    with Prober(fresh.reflectors, fresh.address) as silent:
        for _ in TWICE:
            fresh.ask(0, ask="speak", by=3, port=silent.port)
            if any(answer.get("from") == 3 for answer, _ in silent.hear()):
                return "none"
    return "endpoint-independent"


def peer_first(spoken_to: Prober, mapped: str) -> str | None:
    """Does the mapping survive a stranger's packet that arrives before ours to him? RFC 5780 does not ask this.

    `spoken_to` has spoken to socket 0 and got packets from the others. None where every peer has a mapping of his own.
    """
    if mapped == "address-and-port-dependent":
        return None
    peer = 1 if mapped == "address-dependent" else 3
    return "kept" if spoken_to.seen_by(peer) == spoken_to.seen_by(0) else "lost"


def hairpin(one: Prober, other: Prober) -> str:
    """Do two sockets behind the router reach each other by their public addresses, and whom does the one see?"""
    public, others = one.seen_by(0), other.seen_by(0)
    token = secrets.token_hex(8)
    for _ in TWICE:
        other.tell(public, {"opens": token})  # its filter lets the other one in now
        other.ask(0, ask="where")
        one.tell(others, {"hairpin": token})
        one.ask(0, ask="where")
        for answer, source in other.ask(0, ask="where")[1]:
            if answer.get("hairpin") == token:
                return "external" if source == public else "internal"
    return "none"


def block(on_host: list[Prober]) -> int | None:
    """Return how many ports the host of these sockets, which have ports, gets; None for at least BLOCK_UP_TO."""
    control, more = on_host[0], []
    try:
        for count in range(len(on_host), BLOCK_UP_TO):
            more.append(Prober(control.reflectors, control.address))
            if not is_answered(more[-1], control):
                return count
    finally:
        for one in more:
            one.socket.close()
    return None


def is_answered(fresh: Prober, control: Prober) -> bool:
    """Say whether a socket is answered when another one is. An answer may lag behind by one round trip."""
    for _ in TWICE:
        number, begun = fresh.send(0, ask="where"), time.monotonic()
        control.ask(0, ask="where")
        if fresh.wait(number, [], time.monotonic() - begun) is not None:
            return True
    return False


def fragments(prober: Prober) -> tuple[str, str]:
    """Say whether a message larger than a packet passes, and in which direction it does not."""
    way = "outbound"
    for _ in TWICE:
        number = prober.send(0, BIG, ask="big")
        before = prober.ask(0, ask="where")[1]
        mine = [answer for answer, _ in before if answer.get("id") == number]
        if any("big" in answer for answer in mine):
            return "passed", ""
        if mine:
            way = "inbound"
    return "dropped", way


def alg(prober: Prober, port: int) -> tuple[str, list[tuple[str, str]]]:
    """Say whether the router rewrites SIP on its way to UDP port `port`: compares bytes. Returns the lines that were
    changed too, as sent and as they came; of a message that did not arrive: its first line and nothing."""
    changed: list[tuple[str, str]] = []
    for method in ("REGISTER", "INVITE"):
        token = f"probe-{secrets.token_hex(8)}"
        sent, came = _message(method, token, prober.own), None
        for _ in TWICE:
            prober.socket.sendto(sent, (prober.reflectors[0][0], port))
            kept = prober.ask(0, ask="bytes", token=token)[0]["bytes"]
            if kept is not None:
                came = base64.b64decode(kept)
                break
        changed += _changes(sent, came)
    return "on" if changed else "off", changed


def _message(method: str, token: str, own: Address) -> bytes:
    """Return a request that repeats its private address wherever SIP does."""
    where = "%s:%d" % own
    body = f"v=0\r\no=- 1 1 IN IP4 {own[0]}\r\ns=-\r\nc=IN IP4 {own[0]}\r\nt=0 0\r\nm=audio {own[1] + 2} RTP/AVP 0\r\n"
    return (
        f"{method} sip:probe.invalid SIP/2.0\r\nVia: SIP/2.0/UDP {where};rport;branch=z9hG4bK{token}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:probe@probe.invalid>;tag={token}\r\nTo: <sip:probe@probe.invalid>\r\n"
        f"Call-ID: {token}\r\nCSeq: 1 {method}\r\nContact: <sip:probe@{where}>\r\nExpires: 1\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _changes(sent: bytes, came: bytes | None) -> list[tuple[str, str]]:
    ours = sent.decode().split("\r\n")
    if came is None:
        return [(ours[0], "")]
    theirs = came.decode(errors="replace").split("\r\n")
    theirs += [""] * (len(ours) - len(theirs))
    ours += [""] * (len(theirs) - len(ours))
    return [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]


def same_port(one: Prober, other: Prober) -> bool:
    """Say whether two hosts with the same source port get each their own answers, and have each their own mapping."""
    numbers = {prober: prober.send(0, ask="where") for prober in (one, other)}
    seen = [prober.wait(number, []) or prober.ask(0, ask="where")[0] for prober, number in numbers.items()]
    return bool(seen[0]["seen"] != seen[1]["seen"])


def hops(prober: Prober) -> list[str]:
    """Return the routers on the way, nearest first, "" for one that does not tell; without the reflector.

    It needs no rights, but Linux, which tells a socket of its ICMP errors: elsewhere it raises OSError.
    """
    if sys.platform != "linux":
        raise OSError("only Linux tells a socket of ICMP errors")
    found: list[str] = []
    try:
        for distance in range(1, MOST_HOPS + 1):
            prober.reach(distance)
            number = prober.send(0, ask="where")
            prober.reach(FAR)
            before = prober.ask(0, ask="where")[1]
            if any(answer.get("id") == number for answer, _ in before):
                return found
            found.append("".join(prober.tellers()[-1:]))
    finally:
        prober.reach(FAR)
    return found


def layers(found: list[str]) -> int:
    """Return 2 where a router on the way bears an address that only a provider's NAT has before it (RFC 6598)."""
    return 2 if any(hop and ipaddress.ip_address(hop) in PROVIDER for hop in found) else 1
