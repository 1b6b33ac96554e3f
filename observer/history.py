"""What a router did, as it says itself (`{"do": "history"}`), and by that: why a packet to it went no further.

Connection tracking notices that a mapping has expired when it next looks, which may be later. When a mapping really
expired follows from the packets that kept it alive, where the taps saw them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from observer.decode import Address, Sighting
from observer.topology import Profile

FORGETTING = frozenset(("set", "flush", "rebind", "change-ip", "reboot", "lifetime"))  # verbs that cost all mappings
DROPPING = frozenset(("block-udp", "loss", "drop-next"))  # in force until the same with "off" behind it, or `clear`
MUTING = frozenset(("block-audio in", "block-audio out", "block-audio both"))  # the last one counts
REMAKING = frozenset(("set", "lifetime"))  # after these the router is of another kind
LARGEST = 1472  # bytes of UDP that go in one packet: Ethernet's 1500 without the two headers
LATE_S = 0.05  # an event bears the time at which the router read of it
TOGETHER_S = 1.0  # what ends so close to a verb was ended by it

NEVER, EXPIRED, FORGOTTEN, FILTERED, DROPPED = "never", "expired", "forgotten", "filtered", "dropped"

Event = dict[str, Any]  # {"time", "event", ...}: nat/history.py


@dataclass(slots=True, frozen=True)
class Fate:
    """Why a packet to a public address and port was not passed in: the kind of reason, and the reason in words."""

    code: str
    text: str
    ago: float = 0.0  # seconds from the mapping's end to the packet


@dataclass(slots=True)
class History:
    """One router's past."""

    router: str
    profile: Profile = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)  # oldest first

    def verbs(self, names: Iterable[str], after: float = -math.inf, until: float = math.inf) -> list[Event]:
        """Return what somebody did to it, of these verbs and in this time."""
        wanted = set(names)
        return [
            event
            for event in self.events
            if event["event"] == "verb" and event["verb"] in wanted and after < event["time"] <= until
        ]

    def impairment(self, lost: Sighting) -> str:
        """Say which impairment was in force when this packet was lost, the latest of them; nothing where none was."""
        found = max(self._in_force(lost.time, DROPPING).values(), key=lambda event: event["time"], default=None)
        return f"`{found['verb']}` {lost.time - found['time']:.1f} s before" if found else ""

    def _in_force(self, time: float, verbs: Iterable[str]) -> dict[str, Event]:
        """Return what was in force of these verbs, each by its first word."""
        found: dict[str, Event] = {}
        names = {verb.partition(" ")[0] for verb in verbs}
        for event in self.verbs((*verbs, *(f"{name} off" for name in names), "clear"), until=time):
            name, _, rest = event["verb"].partition(" ")
            if event["verb"] == "clear":
                found.clear()
            elif rest == "off":
                found.pop(name, None)
            else:
                found[name] = event
        return found

    def muting(self, lost: Sighting, way: str) -> str:
        """Say that sound that goes this way, "in" or "out", was blocked, if this packet is such; else nothing."""
        muted = self._in_force(lost.time, MUTING).get("block-audio") if lost.is_media else None
        if not muted or not muted["verb"].endswith((way, "both")):
            return ""
        return f"`{muted['verb']}` {lost.time - muted['time']:.1f} s before"

    def lives(self, transport: str, public: Address) -> list[tuple[float, float | None]]:
        """Return (made, ended) of each mapping that had this public address and port; None: it has not ended."""
        found: list[tuple[float, float | None]] = []
        for event in self.events:
            if event["event"] == "verb" or event["transport"] != transport or tuple(event["public"]) != public:
                continue
            if event["event"] == "mapping-created":
                found.append((event["time"], None))
            elif found:
                found[-1] = (found[-1][0], event["time"])
        return found

    def fate(self, lost: Sighting, seen_there: Iterable[Sighting]) -> Fate:
        """Say why the router did not pass this packet in. `seen_there` is what the tap that saw it saw besides."""
        barred = self.bar(lost, "in")
        if barred:
            return Fate(DROPPED, barred)
        transport = "udp" if lost.transport == "udp" else "tcp"
        lives = [life for life in self.lives(transport, lost.destination) if life[0] <= lost.time + LATE_S]
        if not lives:
            return Fate(NEVER, "it never had one")
        made, ended = lives[-1]
        age = f"(made {lost.time - made:.1f} s before)"
        for verb in self.verbs(FORGETTING, made, lost.time + LATE_S):
            if ended is not None and abs(ended - verb["time"]) < TOGETHER_S:
                ago = max(0.0, lost.time - verb["time"])
                return Fate(FORGOTTEN, f"it was forgotten by `{verb['verb']}` {ago:.1f} s before {age}", ago)
        end = self._end(lost, ended, seen_there) if transport == "udp" else ended
        if end is not None and end <= lost.time + LATE_S:
            ago = max(0.0, lost.time - end)
            return Fate(EXPIRED, f"it expired {ago:.1f} s before {age}", ago)
        return Fate(*self._refusal(lost, seen_there))

    def bar(self, lost: Sighting, way: str = "in") -> str:
        """Say what this router passes in no case, of what goes this way, "in" or "out", if this packet is such; else
        nothing."""
        if muted := self.muting(lost, way):
            return muted
        if lost.transport != "udp" or self._was_another_at(lost.time):
            return ""
        if self.profile.get("udp") == "blocked":
            return "it passes no UDP"
        blocked = self._in_force(lost.time, DROPPING).get("block-udp")
        if blocked:
            return f"it passes no UDP since `block-udp` {lost.time - blocked['time']:.1f} s before"
        if self.profile.get("fragments") == "dropped" and size(lost) > LARGEST:
            return f"it drops fragments, and {size(lost)} bytes do not go in one packet"
        return ""

    def starvation(self, lost: Sighting) -> str:
        """Say that there was no port left for this packet, which came from inside; nothing where there was one."""
        transport, host = "udp" if lost.transport == "udp" else "tcp", lost.source[0]
        held: set[Address] = set()
        for event in self.events:
            if event["event"] != "verb" and event["transport"] == transport and event["private"][0] == host:
                change = held.add if event["event"] == "mapping-created" else held.discard
                if event["time"] <= lost.time:
                    change((host, event["private"][1]))
        most = self.profile.get("block", math.inf)
        if lost.source in held or len(held) < most or self._was_another_at(lost.time):
            return ""
        others = ", ".join(str(port) for _, port in sorted(held))
        return f"every port that it has for {host} is taken, by {others} there"

    def _was_another_at(self, time: float) -> bool:
        """Say whether the router became what it says that it is only after this time."""
        return bool(self.verbs(REMAKING, after=time))

    def _end(self, lost: Sighting, noticed: float | None, seen_there: Iterable[Sighting]) -> float | None:
        """Return when silence closed the way in for this packet's sender; None: it did not, as far as is known."""
        lifetime = float(self.profile.get("lifetime", 0))
        last = None
        for seen in seen_there:
            if seen.time >= lost.time or seen.transport != "udp":
                continue
            sent = seen.source == lost.destination and self._opens(seen.destination, lost.source)
            came = seen.destination == lost.destination and self._opens(seen.source, lost.source)
            alive = last is not None and seen.time <= last + lifetime
            if sent or (came and alive and self.profile.get("refresh") == "both"):
                last = seen.time
        ends = [end for end in (noticed, last + lifetime if last is not None and lifetime else None) if end is not None]
        return min(ends, default=None)

    def _opens(self, peer: Address, sender: Address) -> bool:
        """Say whether what was said to or by this peer lets this sender in (RFC 4787 §5)."""
        filtering = self.profile.get("filtering")
        if filtering == "address-and-port-dependent":
            return peer == sender
        return peer[0] == sender[0] or filtering != "address-dependent"

    def _refusal(self, lost: Sighting, seen_there: Iterable[Sighting]) -> tuple[str, str]:
        met = any(
            seen.source == lost.destination and seen.time < lost.time and self._opens(seen.destination, lost.source)
            for seen in seen_there
        )
        if not met:
            return FILTERED, ""
        return DROPPED, self.impairment(lost)


def size(seen: Sighting) -> int:
    """Return how many bytes a message has."""
    return len("\r\n".join([seen.first_line, *seen.headers, "", seen.body]).encode())
