"""A party of a call with media: from where it may be heard, and where its own is wanted (RFC 7362 §4).

The invariant: a party behind a NAT is sent nothing but where its own messages come from, whatever it says.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.core.flow import Address, Flow, is_private, may_send_to


@dataclass(slots=True)
class Side:
    """One of the two parties: how its messages come and go, and whether a NAT is in between."""

    flow: Flow
    natted: bool


@dataclass(slots=True)
class Heard:
    """What is known of where a party's media comes from and goes to.

    `hosts`: the addresses that it may come from. `rtp` and `rtcp`: where it is wanted, None where nobody can say yet.
    With `is_fixed` it stays there; else it goes where the party's own comes from (RFC 4961), as soon as it does.
    `rate`: Hz of the RTP clock, as the party has it.
    """

    hosts: frozenset[str]
    rate: int
    rtp: Address | None = None
    rtcp: Address | None = None
    is_fixed: bool = False


def hosts_of(side: Side, said: str) -> frozenset[str]:
    """Return from where a party's media may come: a phone behind a NAT, from where its messages come."""
    if side.natted or not said or not _is_reachable(side, said):
        hosts = {side.flow.remote[0]}
        return frozenset(hosts | {said} if said and _is_reachable(side, said) else hosts)
    return frozenset((said,))


def wanted_at(side: Side, host: str, port: int) -> Address | None:
    """Return where media is sent before any has come; None where what was said leads to nobody.

    Nor to where a phone behind a NAT is not: it could name anybody, keep silent, and have the other party flood him.
    """
    if side.natted and host != side.flow.remote[0]:
        return None
    return (host, port) if host and _is_reachable(side, host) and may_send_to(host, port, side.flow.local[0]) else None


def _is_reachable(side: Side, host: str) -> bool:
    """Say whether an address that a party names is one at which we could reach it.

    A private one is when its messages come from there too, or from another private address: it is our own network then.
    """
    here = side.flow.local[0]
    if (":" in host) != (":" in here) or not may_send_to(host, 9, here):
        return False
    return host == side.flow.remote[0] or not is_private(host) or (is_private(side.flow.remote[0]) and not side.natted)
