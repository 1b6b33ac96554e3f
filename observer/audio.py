"""Who heard whom: the sound that left one phone, held against what came to the other, as the taps at both ends saw it.

A direction of a call is well when packets come from where the listener was told that they would, none is missing
between the first and the last, and what they carry is the recording that the speaker plays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from observer import sound
from observer.case import Case, Check, text, verdict
from observer.decode import Address, Sighting
from observer.whereabouts import ends

PCMU = 0  # RFC 3551 §6
SEQUENCES, TIMESTAMPS = 1 << 16, 1 << 32  # after so many the numbers begin anew
LEAST_HEARD = 0.5  # of what was said: the first packets may find no way yet, and who hangs up cuts off the last
LATE_S = 1.0  # after the last message of a call its sound is at an end
MOST_S = 30  # of what is heard in a call


@dataclass(slots=True)
class Direction:
    """What one phone said to another in one call."""

    call: int  # its number in this run, from 1
    call_id: str
    speaker: str
    listener: str
    promised: Address | None = None  # where its sound would come from, as the listener was told
    asked: Address | None = None  # where it was to go, as the speaker was told
    sent: list[Sighting] = field(default_factory=list)  # at the speaker's tap
    heard: list[Sighting] = field(default_factory=list)  # at the listener's
    answered_at: float = 0.0  # when the listener spoke first: a relay knows where he is from then on; 0: he did not

    @property
    def name(self) -> str:
        """The check's name."""
        return f"audio-{self.speaker}-to-{self.listener}"

    @property
    def is_whole(self) -> bool:
        """Whether something was heard, and all that was sent between the first and the last of it."""
        heard = {seen.rtp for seen in self.heard}
        numbers = [number for number, seen in enumerate(self.sent) if seen.rtp in heard]
        return bool(self.heard) and (not numbers or numbers[-1] - numbers[0] + 1 == len(numbers))

    def samples(self) -> list[int]:
        """Return what was heard, each packet in its place; where one is missing there is silence."""
        packets = [seen.rtp for seen in self.heard if seen.rtp]
        payloads = {_since(packets[0].timestamp, one.timestamp, TIMESTAMPS): one.payload for one in packets}
        first = min(payloads, default=0)
        heard: list[int] = []
        for place in sorted(place - first for place in payloads):
            if place < sound.RATE * MOST_S:
                heard += [0] * (place - len(heard))
                heard[place:] = sound.linear(payloads[place + first])
        return heard


def directions(case: Case) -> list[Direction]:
    """Return each direction of each call in which the phones were to be heard; none where they were not."""
    if not any(leg.get("audio") for leg in case.calls):
        return []
    return [direction for call in _calls(case) for direction in call.directions()]


def checks(case: Case) -> list[Check]:
    """Return a check for each phone that was to be heard by another."""
    judged: dict[str, list[tuple[bool, str]]] = {}
    for leg in case.calls:
        if leg.get("audio"):
            for speaker, listener in ((leg["from"], leg["to"]), (leg["to"], leg["from"])):
                judged.setdefault(f"audio-{speaker}-to-{listener}", [])
    for direction in directions(case):
        if direction.name in judged:
            judged[direction.name].append(_judged(case, direction))
    return [verdict(name, found) for name, found in sorted(judged.items())]


def missed(case: Case) -> list[str]:
    """Return which taps have not seen what others have heard: the lab is to blame for that, and nobody in it."""
    return [
        f"tap-{one.speaker} saw none of the {len(one.heard)} packets that {one.listener.capitalize()} heard"
        for one in directions(case)
        if one.heard and not one.sent and _like(one.speaker, one.samples()) >= sound.ENOUGH
    ]


def save(case: Case, folder: Path) -> None:
    """Write what each phone heard into a folder: audio-alice-to-bob-1.wav for the first call."""
    for direction in directions(case):
        if direction.heard:
            sound.save(direction.samples(), folder / f"{direction.name}-{direction.call}.wav")


def _judged(case: Case, direction: Direction) -> tuple[bool, str]:
    listener = direction.listener.capitalize()
    if not direction.heard:
        return False, f"{listener} hears nothing{f' of {len(direction.sent)} packets' if direction.sent else ''}"
    hears = f"{listener} hears {len(direction.heard)} of {len(direction.sent)} packets"
    due = [seen for seen in direction.sent if seen.time >= direction.answered_at]
    few = ["too few"] if len(direction.heard) < LEAST_HEARD * len(due) else []
    wrong = [*_strangers(case, direction), *_gaps(direction), *_unlike(direction), *few]
    if wrong:
        return False, f"{hears}: {', '.join(wrong)}"
    source = direction.heard[0].source
    told = "" if source == direction.promised else f" (told {_told(direction)})"
    return True, f"{hears}, from {text(source)}{told}"


def _strangers(case: Case, direction: Direction) -> Iterator[str]:
    """Yield from where packets came that were not to come from there."""
    for source in dict.fromkeys(seen.source for seen in direction.heard):
        if not _is_promised(case, direction, source):
            yield f"from {text(source)} (told {_told(direction)})"


def _is_promised(case: Case, direction: Direction, source: Address) -> bool:
    """Say whether the listener may take this for the speaker: it is where the SDP says; or that has a private address
    of the speaker's, and it is a public one of the speaker's router."""
    if direction.promised is None or source == direction.promised:
        return direction.promised is not None
    home = case.topology.home_of(direction.speaker)
    is_private = case.topology.is_private(direction.promised[0])
    return home is not None and is_private and source[0] in (*home.wan, *home.faces.values())


def _told(direction: Direction) -> str:
    return text(direction.promised) if direction.promised else "nothing"


def _gaps(direction: Direction) -> Iterator[str]:
    """Yield how many packets are missing between the first and the last."""
    for ssrc in {seen.rtp.ssrc for seen in direction.heard if seen.rtp}:
        numbers = [seen.rtp.sequence for seen in direction.heard if seen.rtp and seen.rtp.ssrc == ssrc]
        steps = {_since(numbers[0], number, SEQUENCES) for number in numbers}
        missing = max(steps) - min(steps) + 1 - len(steps)
        if missing:
            yield f"{missing} missing between them"


def _since(first: int, number: int, wrap: int) -> int:
    """Return how much later a number is than another; below 0 for what was overtaken."""
    return (number - first + wrap // 2) % wrap - wrap // 2


def _unlike(direction: Direction) -> Iterator[str]:
    types = {seen.rtp.payload_type for seen in direction.heard if seen.rtp}
    if types != {PCMU}:
        yield f"of payload type {', '.join(map(str, sorted(types - {PCMU})))}, not PCMU"
        return
    samples = direction.samples()
    found = _like(direction.speaker, samples)
    if found < sound.ENOUGH:
        others = [name for name in sound.TONES if name != direction.speaker and _like(name, samples) >= sound.ENOUGH]
        whose = f"{others[0].capitalize()}'s" if others else "silence" if not any(samples) else "something else"
        yield f"not {direction.speaker.capitalize()}'s recording (likeness {found:.2f}) but {whose}"


def _like(name: str, samples: list[int]) -> float:
    return sound.likeness(sound.linear(sound.recording(name)), samples)


# ── which sound is of which call ──────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Call:
    number: int
    call_id: str
    caller: str
    began: float
    ended: float
    is_ours: bool  # of this run
    named: dict[str, Address] = field(default_factory=dict)  # phone -> where it wants to be sent to, in its own words
    told: dict[str, Address] = field(default_factory=dict)  # phone -> where it was told to send to
    said: dict[str, list[Sighting]] = field(default_factory=dict)
    heard: dict[str, list[Sighting]] = field(default_factory=dict)

    def directions(self) -> Iterator[Direction]:
        """Yield both."""
        others = [name for name in self.named if name != self.caller]
        for callee in others[:1]:
            for speaker, listener in ((self.caller, callee), (callee, self.caller)):
                yield Direction(
                    self.number, self.call_id, speaker, listener, self.told.get(listener), self.told.get(speaker),
                    self.said.get(speaker, []), self.heard.get(listener, []),
                    min((seen.time for seen in self.said.get(listener, [])), default=0.0),
                )  # fmt: skip


def _calls(case: Case) -> list[_Call]:
    """Return the calls of this run that were answered, with what was said and heard in each.

    Sound of other calls, which somebody else placed before and which may be up still, is those calls' own.
    """
    calls: dict[str, _Call] = {}
    for journey in case.journeys:
        first, sender = journey.first, case.sender(journey)
        if first.method == "INVITE" and first.is_request and sender in case.topology.phones:
            is_ours = first.time >= case.began and not _is_within_dialog(first)
            calls.setdefault(first.call_id, _Call(0, first.call_id, sender, first.time, first.time, is_ours))
        call = calls.get(first.call_id)
        if call is None:
            continue
        call.ended = max(call.ended, journey.legs[-1].sightings[-1].time)
        if (own := place(first.body)) and sender in case.topology.phones:
            call.named.setdefault(sender, own)
        for leg in journey.legs[1:]:  # where the proxy forks several end: at a phone, or nowhere
            reached = ends(leg, case.topology)[1]
            if (given := place(leg.seen.body)) and reached in case.topology.phones:
                call.told.setdefault(reached, given)
    found = list(calls.values())
    for seen in case.sightings:
        if seen.rtp and seen.tap in case.topology.phones:
            _give(case, found, seen)
    ours = [call for call in found if call.is_ours]
    for number, call in enumerate(ours, 1):
        call.number = number
    return ours


def _is_within_dialog(request: Sighting) -> bool:
    """Say whether its To has a tag (RFC 3261 §12.2)."""
    return any(re.match(r"(?:to|t)\s*:.*;\s*tag\s*=", line, re.IGNORECASE) for line in request.headers)


def _give(case: Case, calls: list[_Call], seen: Sighting) -> None:
    """Give a packet that was seen at a phone to its call: the one at its time; of several the one with its port."""
    phone = seen.tap
    is_said = case.topology.name(seen.source[0], seen.tap) == phone
    port = (seen.source if is_said else seen.destination)[1]
    going_on = [call for call in calls if phone in call.named and call.began <= seen.time <= call.ended + LATE_S]
    its = [call for call in going_on if call.named[phone][1] == port] or going_on
    if its:
        (its[-1].said if is_said else its[-1].heard).setdefault(phone, []).append(seen)


def place(body: str) -> Address | None:
    """Return where a session description wants sound to go (RFC 4566 §5.7, §5.14); None where it has none."""
    session, *media = re.split(r"^(?=m=)", body, flags=re.MULTILINE)
    for section in media:
        port = re.match(r"m=audio (\d+)", section)
        address = _connection(section) or _connection(session)
        if port and address:
            return address, int(port[1])
    return None


def _connection(section: str) -> str:
    found = re.search(r"^c=IN IP[46] ([^\s/]+)", section, re.MULTILINE)
    return found[1] if found else ""
