"""Sound that does not come went no further somewhere, and it is said where: the direction, the hop, and the reason."""

from __future__ import annotations

from typing import Any

import pytest

from observer.consequence import facts
from observer.decode import Sighting
from tests.unit.observer.sightings import TWO_HOMES, case, did, in_two_homes, leg, topology
from tests.unit.observer.speech import RELAYED, call, heard, is_packet, stream, without


def told(**given: Any) -> dict[str, str]:
    """Return what is said of sound, by the code of the fact."""
    return {fact.code: fact.text for fact in facts(heard(**given)) if fact.code.startswith("audio-")}


def up_to(speaker: str, *taps: str) -> list[Sighting]:
    """Return what a phone says, as far as to these taps."""
    return [seen for seen in stream(speaker, RELAYED[speaker]) if seen.tap in (speaker, *taps)]


def test_what_is_heard_is_no_fact() -> None:
    assert told() == {}


def test_the_internet_drops_what_goes_to_a_private_address() -> None:
    assert told(is_relayed=False) == {
        "audio-lost-to-alice": "Bob's audio goes to 10.77.1.100:40000, a private address: the Internet drops it, "
        "and Alice hears nothing"
    }


def test_a_router_that_blocks_it_is_named_with_the_verb() -> None:
    blocked = [did(0.0, "block-audio in")]
    his = up_to("bob", "proxy", "nat-wan")
    assert told(his=his, events=blocked) == {
        "audio-lost-to-alice": "Bob's audio goes to 198.51.100.20:50999: the router did not pass it on: "
        "`block-audio in` 0.0 s before, and Alice hears nothing"
    }
    assert "block-audio" not in told(his=his, events=[did(0.0, "block-audio out")])["audio-lost-to-alice"]


def test_so_it_is_on_the_way_out() -> None:
    hers = up_to("alice", "nat-lan")
    assert told(hers=hers, events=[did(0.0, "block-audio both")]) == {
        "audio-lost-to-bob": "Alice's audio goes to 198.51.100.10:30000: the router did not pass it on: "
        "`block-audio both` 0.0 s before, and Bob hears nothing"
    }


def test_a_relay_that_keeps_it_is_named() -> None:
    kept = [seen for seen in up_to("bob", "proxy") if seen.source[0] != "198.51.100.10"]
    assert told(his=kept) == {
        "audio-lost-to-alice": "Bob's audio goes to 198.51.100.10:30002: the proxy does not pass it on, "
        "and Alice hears nothing"
    }


def test_a_relay_that_cannot_know_where_she_is_is_excused() -> None:
    kept = [seen for seen in up_to("bob", "proxy") if seen.source[0] != "198.51.100.10"]
    assert told(hers=up_to("alice", "nat-lan"), his=kept)["audio-lost-to-alice"] == (
        "Bob's audio goes to 198.51.100.10:30002: the proxy does not pass it on, to which nothing of Alice's has come, "
        "and Alice hears nothing"
    )


def test_a_router_that_has_no_mapping_is_named() -> None:
    assert told(his=up_to("bob", "proxy", "nat-wan"))["audio-lost-to-alice"].startswith(
        "Bob's audio goes to 198.51.100.20:50999: the router has no mapping for 198.51.100.20:50999"
    )


def test_what_is_seen_nowhere_after_its_phone_is_said_to_be() -> None:
    assert told(hers=up_to("alice"))["audio-lost-to-bob"] == (
        "Alice's audio goes to 198.51.100.10:30000 and is seen nowhere after that, and Bob hears nothing"
    )


def test_what_is_never_said_is_said_to_be() -> None:
    assert told(hers=[])["audio-lost-to-bob"] == (
        "Alice's audio is never sent; it was to go to 198.51.100.10:30000: Bob hears nothing"
    )


def test_two_with_one_address_talk_to_themselves() -> None:
    """Each home has its 10.77.1.100: what Bob is told to send there never leaves his phone."""
    own = in_two_homes(call(is_relayed=False))
    judged = case(own, [{**leg("alice", "bob"), "audio": True}], where=topology(TWO_HOMES))
    told = {fact.code: fact.text for fact in facts(judged)}
    assert told["audio-lost-to-alice"] == (
        "Bob's audio goes to 10.77.1.100:40000, which is his own address: Alice hears nothing"
    )


@pytest.mark.parametrize(("cut", "says"), [((3, 4), "2 of 25 packets"), ((24,), "")])
def test_what_is_lost_in_the_middle_is_told_and_what_the_end_cuts_off_is_not(cut: tuple[int, ...], says: str) -> None:
    lossy = without(stream("alice", RELAYED["alice"]), is_packet(*cut, taps=("nat-wan", "proxy", "bob")))
    found = told(hers=lossy)
    assert bool(found) == bool(says)
    if says:
        assert found["audio-broken-to-bob"].startswith(
            f"{says} of Alice's audio are lost: goes to 198.51.100.10:30000: the router did not pass it on"
        )


def test_the_call_itself_works_all_the_same() -> None:
    assert "works" in [fact.code for fact in facts(heard(is_relayed=False))]
