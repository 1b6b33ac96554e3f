"""Captures from elsewhere: the two sides of a router are found to belong together, and their clocks are set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from observer.decode import Sighting
from observer.view import foreign, media, schema
from observer.view.foreign import NoCapture, clock_difference, load
from tests.unit.observer.sightings import good_story

AHEAD = 3.25


def side(tap: str, number: int, ahead: float = 0.0) -> list[Sighting]:
    """Return what one tap of the good story saw, as a capture that is the `number`th."""
    return [replace(seen, tap=str(number), time=seen.time + ahead) for seen in good_story() if seen.tap == tap]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Sighting]:
    """What tshark makes of the captures."""
    found: list[Sighting] = []
    monkeypatch.setattr(foreign, "decode", lambda *_: sorted(found, key=lambda seen: seen.time))
    monkeypatch.setattr(media, "streams", lambda *_: [])
    return found


def drawn(*names: str) -> schema.View:
    view = load(Path("/nowhere"), names)
    assert list(schema.breaches(json.loads(json.dumps(view)))) == []
    return view


@pytest.mark.parametrize("inside", [0, 1])
def test_two_sides_of_a_router_are_told_apart_whichever_is_named_first(decoded: list[Sighting], inside: int) -> None:
    decoded += side("nat-lan", inside) + side("nat-wan", 1 - inside, AHEAD)
    view = drawn("a.pcap", "b.pcap")
    assert [lane["name"] for lane in view["lanes"]] == ["10.77.1.100", "router", "198.51.100.10"]
    assert view["lanes"][1]["edges"][1]["address"] == "198.51.100.20"
    changes = [each for call in view["calls"] for arrow in call["arrows"] for each in arrow["changes"]]
    assert {(each["name"], each["by"]) for each in changes} == {("source", "router"), ("destination", "router")}
    assert not any(arrow["lost"] for call in view["calls"] for arrow in call["arrows"])
    assert f"{AHEAD:+.3f} s off" in view["notes"][0]


def test_clocks_are_set_by_what_went_out_and_what_came_in() -> None:
    inner, outer = side("nat-lan", 0), side("nat-wan", 1, AHEAD)
    later = [replace(seen, time=seen.time + 0.010) for seen in inner if seen.destination[0] == "10.77.1.100"]
    out = [seen for seen in inner if seen.source[0] == "10.77.1.100"]
    slow = [replace(seen, time=seen.time + 0.010) for seen in outer if seen.source[0] == "198.51.100.20"]
    came = [seen for seen in outer if seen.destination[0] == "198.51.100.20"]
    pairs = [*zip(out, slow, strict=True), *zip(later, came, strict=True)]
    assert clock_difference(pairs) == pytest.approx(AHEAD, abs=0.002)


def test_one_clock_is_not_set(decoded: list[Sighting]) -> None:
    decoded += side("nat-lan", 0) + side("nat-wan", 1)
    assert drawn("a.pcap", "b.pcap")["notes"] == []


def test_what_is_in_one_capture_only_is_lost_where_the_other_was_running(decoded: list[Sighting]) -> None:
    decoded += side("nat-lan", 0)
    decoded += [seen for seen in side("nat-wan", 1) if not (seen.call_id == "alice-calls" and seen.method == "ACK")]
    lost = [arrow for call in drawn("a", "b")["calls"] for arrow in call["arrows"] if arrow["lost"]]
    assert [(arrow["label"], arrow["lost"]) for arrow in lost] == [
        ("ACK bob", "seen inside the router, and not outside")
    ]


def test_what_the_other_capture_could_not_see_is_not_lost(decoded: list[Sighting]) -> None:
    decoded += side("nat-lan", 0)
    decoded += [seen for seen in side("nat-wan", 1) if seen.call_id != "bob-calls"]
    assert not any(arrow["lost"] for call in drawn("a", "b")["calls"] for arrow in call["arrows"])


def test_a_proxy_that_nobody_told_of_is_known_by_what_it_sends_on(decoded: list[Sighting]) -> None:
    decoded += side("proxy", 0)
    view = drawn("proxy.pcap")
    assert [lane["kind"] for lane in view["lanes"]] == ["host", "host", "host"]
    forwarded = [
        arrow
        for call in view["calls"]
        for arrow in call["arrows"]
        if arrow["label"] == "INVITE bob" and arrow["origin"]["lane"] == "198.51.100.10"
    ]
    assert forwarded[0]["by"] == "198.51.100.10"
    assert "RFC 3581 §4" in {each["rfc"] for each in forwarded[0]["changes"]}


def test_two_captures_with_nothing_in_common_stand_side_by_side(decoded: list[Sighting]) -> None:
    decoded += side("nat-lan", 0)
    decoded += [replace(seen, call_id="another") for seen in side("nat-wan", 1)]
    view = drawn("a.pcap", "b.pcap")
    assert "no message in common" in view["notes"][0]
    assert {sight["tap"] for call in view["calls"] for arrow in call["arrows"] for sight in arrow["sights"]} == {
        "a.pcap", "b.pcap",
    }  # fmt: skip


def test_a_capture_without_sip_is_answered_by_its_name(decoded: list[Sighting]) -> None:
    decoded += [replace(seen, first_line="") for seen in side("nat-lan", 0)]
    with pytest.raises(NoCapture, match=r"^quiet\.pcap: there is no SIP in it$"):
        load(Path("/nowhere"), ["quiet.pcap"])
