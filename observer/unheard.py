"""Where sound went no further: for each direction in which nothing came, or not all of it, the hop and the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from observer.audio import Direction, directions
from observer.case import Case, text
from observer.decode import Address, Rtp, Sighting
from observer.story import Leg, legs_of
from observer.whereabouts import INTERNET, ends

OWN = {"alice": "her", "bob": "his"}


@dataclass(slots=True, frozen=True)
class Unheard:
    """What became of the sound that did not come, in a sentence."""

    direction: Direction
    text: str


def losses(case: Case) -> list[Unheard]:
    """Return what was not heard of what was said, each direction that was lost in one way once."""
    on_the_way: dict[Rtp, list[Sighting]] = {}
    for seen in case.sightings:
        if seen.rtp and seen.tap not in case.topology.phones:
            on_the_way.setdefault(seen.rtp, []).append(seen)
    found: dict[str, Unheard] = {}
    for direction in directions(case):
        words = _missing(case, direction, on_the_way)
        if words:
            found.setdefault(words, Unheard(direction, words))
    return list(found.values())


def _missing(case: Case, direction: Direction, on_the_way: Mapping[Rtp, list[Sighting]]) -> str:
    """Return what to say of a direction; nothing where all was heard, but for what was on its way at the end."""
    whose = f"{direction.speaker.capitalize()}'s audio"
    silence = f"{direction.listener.capitalize()} hears nothing"
    if not direction.sent and not direction.heard:
        return f"{whose} {_unsaid(case, direction)}: {silence}"
    lost = direction.lost if not direction.heard else _before_the_last(direction)
    if not lost:
        return ""
    ways = [_way(case, seen, on_the_way) for seen in lost]
    (most, count), *_ = Counter(key for key, _ in ways).most_common(1)
    how = next(words for key, words in ways if key == most)
    if direction.heard:
        return f"{count} of {len(direction.sent)} packets of {whose} are lost: {how}"
    return f"{whose} {how}, and {silence}"


def _before_the_last(direction: Direction) -> list[Sighting]:
    """Return what was lost before something that was heard: who hangs up cuts off what is said."""
    heard = {seen.rtp for seen in direction.heard}
    last = max((seen.time for seen in direction.sent if seen.rtp in heard), default=0.0)
    return [seen for seen in direction.lost if seen.time < last]


def _unsaid(case: Case, direction: Direction) -> str:
    """Return why nothing was seen to leave a phone."""
    if direction.asked is None:
        return "has nowhere to go: no session description says where"
    if case.topology.name(direction.asked[0], direction.speaker) == direction.speaker:
        return f"goes to {text(direction.asked)}, which is {OWN.get(direction.speaker, 'its')} own address"
    return f"is never sent; it was to go to {text(direction.asked)}"


def _way(case: Case, seen: Sighting, on_the_way: Mapping[Rtp, list[Sighting]]) -> tuple[tuple[str, Address], str]:
    """Return where a packet went no further, as a key, and in words."""
    assert seen.rtp
    legs = legs_of(on_the_way.get(seen.rtp, []), case.topology)
    if not legs:
        return ("", seen.destination), f"goes to {text(seen.destination)} and is seen nowhere after that"
    last = legs[-1]
    place, words = _end(case, last)
    return (place, last.seen.destination), f"goes to {text(last.seen.destination)}{words}"


def _end(case: Case, last: Leg) -> tuple[str, str]:
    loss, target = case.around.loss(last), ends(last, case.topology)[1]
    if loss is None:
        what = "the proxy does not pass it on" if target == "proxy" else f"last seen at {last.taps[-1]}"
        return target, f": {what}"
    if loss.place == INTERNET and loss.lane == "core":
        return loss.lane, ", a private address: the Internet drops it"
    return loss.lane, f": {loss.text}"
