"""The way of sound, hop by hop; and for each direction in which nothing came, or not all, where it went no further."""

from __future__ import annotations

from dataclasses import dataclass

from observer.audio import Direction, directions
from observer.case import Case, text
from observer.decode import Address, Rtp, Sighting
from observer.story import Leg, legs_of
from observer.whereabouts import INTERNET, Loss, ends

OWN = {"alice": "her", "bob": "his"}


@dataclass(slots=True)
class Hop:
    """The packets of one direction that went one way, from one lane to the next: the first of them, and how many."""

    leg: Leg
    count: int = 0
    lost: int = 0  # those that went no further and were not heard
    loss: Loss | None = None  # why the first of these did not


@dataclass(slots=True, frozen=True)
class Unheard:
    """What became of the sound that did not come, in a sentence."""

    direction: Direction
    text: str


def hops(case: Case) -> list[tuple[Direction, list[Hop]]]:
    """Return the way of each direction, in the order of time."""
    seen_of: dict[Rtp, list[Sighting]] = {}
    for seen in case.sightings:
        if seen.rtp:
            seen_of.setdefault(seen.rtp, []).append(seen)
    return [(direction, _way(case, direction, seen_of)) for direction in directions(case)]


def _way(case: Case, direction: Direction, seen_of: dict[Rtp, list[Sighting]]) -> list[Hop]:
    heard = {seen.rtp for seen in direction.heard}
    found: dict[tuple[Address, Address], Hop] = {}
    for sent in direction.sent:
        assert sent.rtp
        legs = legs_of([seen for seen in seen_of[sent.rtp] if seen.time >= sent.time], case.topology)
        for leg in legs:
            hop = found.setdefault((leg.seen.source, leg.seen.destination), Hop(leg))
            hop.count += 1
        if sent.rtp not in heard:
            hop = found[legs[-1].seen.source, legs[-1].seen.destination]
            hop.lost += 1
            hop.loss = hop.loss or case.around.loss(legs[-1])
    return list(found.values())


def losses(case: Case) -> list[Unheard]:
    """Return what was not heard of what was said; what became of many calls at once is told once."""
    ways = hops(case)
    known = {(direction.call, direction.speaker) for direction, way in ways if _comes_to_proxy(case, way)}
    found: dict[tuple[object, ...], Unheard] = {}
    for direction, way in ways:
        if not direction.is_whole:
            where, words = _told(case, direction, way, is_known=(direction.call, direction.listener) in known)
            found.setdefault((direction.name, *where), Unheard(direction, words))
    return list(found.values())


def _comes_to_proxy(case: Case, way: list[Hop]) -> bool:
    return any(hop.leg.seen.destination[0] == case.topology.proxy and "proxy" in hop.leg.taps for hop in way)


def _told(case: Case, direction: Direction, way: list[Hop], is_known: bool) -> tuple[tuple[object, ...], str]:
    """Return what to say of a direction, after what it shares with others of which the same is to be said.

    `is_known`: something of the listener's has come to the proxy, which may have learned by it where he is.
    """
    whose = f"{direction.speaker.capitalize()}'s audio"
    silence = f"{direction.listener.capitalize()} hears nothing"
    if not way:
        return ("unsaid",), f"{whose} {_unsaid(case, direction)}: {silence}"
    end = max(way, key=lambda hop: hop.lost)
    where, words = _end(case, direction, end)
    if where == "proxy" and not is_known:
        words += f", to which nothing of {direction.listener.capitalize()}'s has come"
    if direction.heard:
        words = f"{end.lost} of {len(direction.sent)} packets of {whose} are lost: {words}"
    else:
        words = f"{whose} {words}, and {silence}"
    return (where, end.leg.seen.destination[0], bool(direction.heard)), words


def _unsaid(case: Case, direction: Direction) -> str:
    """Return why nothing was seen to leave a phone."""
    if direction.asked is None:
        return "has nowhere to go: no session description says where"
    if case.topology.name(direction.asked[0], direction.speaker) == direction.speaker:
        return f"goes to {text(direction.asked)}, which is {OWN.get(direction.speaker, 'its')} own address"
    return f"is never sent; it was to go to {text(direction.asked)}"


def _end(case: Case, direction: Direction, hop: Hop) -> tuple[str, str]:
    """Return where packets went no further, and how, in words."""
    goes = f"goes to {text(hop.leg.seen.destination)}"
    if hop.leg.taps == [direction.speaker]:
        return "", f"{goes} and is seen nowhere after that"
    if hop.loss is None:
        target = ends(hop.leg, case.topology)[1]
        return target, f"{goes}: {'the proxy does not pass it on' if target == 'proxy' else 'it does not come there'}"
    if hop.loss.place == INTERNET and hop.loss.lane == "core":
        return hop.loss.lane, f"{goes}, a private address: the Internet drops it"
    return hop.loss.lane, f"{goes}: {hop.loss.text}"
