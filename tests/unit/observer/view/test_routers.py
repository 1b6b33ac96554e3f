"""What a router did, on the time line: mappings made, kept, ended, and why."""

from __future__ import annotations

from typing import Any

from observer.decode import Sighting
from observer.view import schema
from tests.unit.observer.sightings import ALICE, NAT, PROXY, Wire, did, ended, lines, made, via_alice
from tests.unit.observer.view.views import drawn

OTHER = (NAT[0], 50_999)


def packets(*times: float) -> list[Sighting]:
    """Return registrations of Alice at these times."""
    wire = Wire()
    for time in times:
        register = lines("REGISTER sip:198.51.100.10 SIP/2.0", [via_alice(str(time))], "r", f"{int(time)} REGISTER")
        wire.alice_says(register, None)
    for number, seen in enumerate(wire.sightings):
        seen.time = times[number // 3]
    return wire.sightings


def events(*told: dict[str, Any], times: tuple[float, ...] = (1.0,)) -> list[tuple[str, str]]:
    view = drawn(packets(*times), events=list(told))
    return [(event["event"], event["text"]) for event in view["events"]]


def mapping(*told: dict[str, Any], times: tuple[float, ...] = (1.0,)) -> schema.Mapping:
    return drawn(packets(*times), events=list(told))["routers"][0]["mappings"][0]


def test_a_mapping_of_a_phones_port_is_told_and_no_other() -> None:
    probes = made(1, (NAT[0], 50_111), ("10.77.1.101", 20_000))
    assert events(made(1.0), probes) == [("created", "mapping 10.77.1.100:5060 → 198.51.100.20:50568 (udp) is made")]


def test_a_packet_that_comes_late_refreshes_it() -> None:
    told = events(made(1.0), times=(1.0, 5.0, 25.0))
    assert told[-1] == (
        "refreshed", "mapping 10.77.1.100:5060 → 198.51.100.20:50568 (udp) is refreshed: 10.0 of 30 s were left",
    )  # fmt: skip
    assert len(told) == 2
    assert mapping(made(1.0), times=(1.0, 5.0, 25.0))["used"] == 25.0


def test_a_mapping_that_ends_by_itself_has_expired() -> None:
    assert events(made(1.0), ended(31.0))[-1][0] == "expired"
    assert mapping(made(1.0), ended(31.0))["ended"] == 31.0


def test_one_that_ends_by_what_somebody_did_is_forgotten() -> None:
    told = events(made(1.0), did(5.0, "flush", "all mappings are forgotten"), ended(5.01))
    assert [what for what, _ in told] == ["created", "verb", "forgotten"]
    assert told[-1][1].endswith("is forgotten: `flush`")


def test_one_that_comes_back_with_another_port_is_rebound() -> None:
    told = events(made(1.0), did(5.0, "rebind"), ended(5.01), made(6.0, OTHER), times=(1.0, 6.0))
    assert told[-1] == (
        "rebound", "mapping 10.77.1.100:5060 → 198.51.100.20:50999 (udp) is made anew, with another port",
    )  # fmt: skip


def test_the_router_says_what_it_is() -> None:
    router = drawn(packets(1.0), events=[made(1.0)])["routers"][0]
    assert (router["lane"], router["kind"], router["lifetime"]) == ("nat", "home", 30.0)
    assert ALICE[1] == PROXY[1] == 5060
