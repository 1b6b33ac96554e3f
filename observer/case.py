"""What is judged, and what a check says of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from observer.decode import Sighting
from observer.history import History
from observer.story import Journey, message
from observer.topology import Topology
from observer.whereabouts import Surroundings

PASS, FAIL, NOT_SEEN = "pass", "fail", "not-seen"
MOST_EVIDENCE = 5
# The messages whose Contact is where the far end will send its next request (RFC 3261 §12.1, 3311, 6665, 3515).
DIALOG_METHODS = frozenset(("INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"))
WITHOUT_CALL = frozenset(("message", "subscribe"))  # flows (a leg's "flow") in which nobody is called
END = {"caller": "from", "callee": "to"}

Judged = tuple[bool, str, Sighting | None]  # is it as it should be?, the evidence, and the packet that shows it
Leg = dict[str, Any]  # {"from", "to", "count", "hangup", "flow", and SIPp's counts by phone}


@dataclass(slots=True)
class Check:
    """One check: `result` is pass, fail or not-seen; `evidence` says on what, in a sentence; `packets`: tap, time, and
    evidence of each packet that failed it."""

    name: str
    result: str
    evidence: str
    packets: list[tuple[str, float, str]] = field(default_factory=list)


@dataclass(slots=True)
class Case:
    """Everything that is judged."""

    topology: Topology
    journeys: list[Journey]
    sightings: list[Sighting]
    legs: list[Leg]
    probes: Mapping[str, dict[str, Any]]  # probe-NAME.json of each phone behind a router that left one
    histories: Mapping[str, History] = field(default_factory=dict)  # by the router's name
    silent: Mapping[str, str] = field(default_factory=dict)  # routers that did not answer, and what was seen of it
    earlier_contacts: Mapping[str, set[str]] = field(default_factory=dict)  # what the phones gave before this run
    began: float = 0.0  # when phones were first asked, in Unix seconds: earlier calls are somebody else's
    around: Surroundings = field(init=False, repr=False)  # what it takes to say where a packet was lost

    def __post_init__(self) -> None:
        """Look around once."""
        self.around = Surroundings(self.topology, self.histories, self.sightings)

    @property
    def homely(self) -> list[str]:
        """The phones behind routers."""
        return [name for home in self.topology.homes for name in home.phones]

    @property
    def calls(self) -> list[Leg]:
        """The legs in which somebody is called."""
        return [leg for leg in self.legs if leg.get("flow") not in WITHOUT_CALL]

    def calls_from(self, name: str) -> int:
        """Return how many calls this phone was to place."""
        return sum(leg["count"] for leg in self.calls if leg["from"] == name)

    def hangs_up(self, name: str) -> bool:
        """Say whether this phone was to hang up."""
        return any(leg[END[leg["hangup"]]] == name for leg in self.calls)

    def is_asked_by_others(self, name: str) -> bool:
        """Say whether requests were to reach this phone: it is called, or whom it calls hangs up."""
        return any(
            name == leg["to"] or (name == leg["from"] and leg[END[leg["hangup"]]] == leg["to"]) for leg in self.calls
        )

    def sender(self, journey: Journey) -> str:
        """Return the name of the phone that sent this message; the name or address of whoever else did."""
        return self.topology.name(journey.first.source[0], journey.first.tap)

    def arrivals(self) -> dict[tuple[object, ...], list[Sighting]]:
        """Return each message as it arrived at the proxy, all its copies."""
        found: dict[tuple[object, ...], list[Sighting]] = {}
        for seen in self.sightings:
            if seen.is_sip and seen.tap == "proxy" and seen.destination[0] == self.topology.proxy:
                found.setdefault(message(seen), []).append(seen)
        return found

    def leaves_proxy(self, seen: Sighting) -> bool:
        """Say whether the proxy sent it."""
        return seen.tap == "proxy" and seen.source[0] == self.topology.proxy


def verdict(name: str, judged: Sequence[tuple[bool, str] | Judged]) -> Check:
    """Return a check of many packets: is each as it should be, and the evidence."""
    if not judged:
        return Check(name, NOT_SEEN, "no packet to judge")
    failed = [one for one in judged if not one[0]]
    wrong = list(dict.fromkeys(one[1] for one in failed))
    if wrong:
        more = f" … and {len(wrong) - MOST_EVIDENCE} more" if len(wrong) > MOST_EVIDENCE else ""
        packets = [(one[2].tap, one[2].time, one[1]) for one in failed if len(one) > 2 and one[2]]
        return Check(name, FAIL, "; ".join(wrong[:MOST_EVIDENCE]) + more, packets)
    return Check(name, PASS, f"{len(judged)}×: {judged[0][1]}" if len(judged) > 1 else judged[0][1])


def contacts_of_phones(journeys: Iterable[Journey], topology: Topology) -> dict[str, set[str]]:
    """Return the Contacts that each phone behind a router has given, by its name."""
    found: dict[str, set[str]] = {name: set() for home in topology.homes for name in home.phones}
    for journey in journeys:
        name = topology.name(journey.first.source[0], journey.first.tap)
        if name in found and journey.first.contact:
            found[name].add(journey.first.contact)
    return found


def is_in_dialog(seen: Sighting) -> bool:
    """Say whether this request is sent within a dialog: its To has a tag (RFC 3261 §12.2)."""
    return any(re.match(r"(?:to|t)\s*:.*;\s*tag=", line, re.IGNORECASE) for line in seen.headers)


def transaction(seen: Sighting) -> tuple[str, int, str, str]:
    """Return what a request shares with its answers, and with its copies."""
    return seen.call_id, seen.cseq, seen.method, seen.branches[-1] if seen.branches else ""


def transport_of(uri: str) -> str:
    """Return the transport that a URI names: UDP where it names none."""
    named = re.search(r";transport=(\w+)", uri, re.IGNORECASE)
    return named[1].lower() if named else "udp"


def names(line: str, address: str) -> bool:
    """Say whether a header line bears this very address, and not one that only begins or ends like it."""
    return re.search(rf"(?<![\d.]){re.escape(address)}(?![\d.])", line) is not None


def text(address: tuple[str, int]) -> str:
    """Return ADDRESS:PORT."""
    return f"{address[0]}:{address[1]}"


def hostport(uri: str) -> str:
    """Return a SIP URI's host and port, as it has them."""
    return uri.rpartition("@")[2].partition(";")[0].removeprefix("sip:")
