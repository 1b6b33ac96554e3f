"""Who heard whom: all that can be wrong with what is heard is seen, and what is as it should be passes."""

from __future__ import annotations

import re
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from observer import audio, sound
from observer.decode import Address, Sighting
from tests.unit.observer.sightings import NAT, PROXY, case, leg
from tests.unit.observer.speech import (
    HERS,
    OUTSIDE,
    RELAYED,
    STRAIGHT,
    TO_HIM,
    call,
    heard,
    is_packet,
    sdp,
    stream,
    without,
)

COUNT = len(sound.recording("alice")) // sound.PACKET


def judged(**given: Any) -> dict[str, tuple[str, str]]:
    """Return {check: (result, evidence)}."""
    return {check.name: (check.result, check.evidence) for check in audio.checks(heard(**given))}


def hers(**given: Any) -> str:
    """Return what is said of Alice's sound where it is wrong; Bob's is right."""
    found = judged(**given)
    assert found["audio-bob-to-alice"][0] == "pass"
    result, evidence = found["audio-alice-to-bob"]
    assert result == "fail"
    return evidence


def said(pcmu: bytes | None = None, **fields: Any) -> list[Sighting]:
    """Return what Alice's phone says, but for what is given."""
    return stream("alice", RELAYED["alice"], pcmu, **fields)


def test_both_hear_each_other_through_the_relay() -> None:
    assert judged() == {
        "audio-alice-to-bob": ("pass", f"Bob hears {COUNT} of {COUNT} packets, from 198.51.100.10:30002"),
        "audio-bob-to-alice": ("pass", f"Alice hears {COUNT} of {COUNT} packets, from 198.51.100.10:30000"),
    }


def test_without_sound_that_was_asked_for_there_is_nothing_to_judge() -> None:
    assert judged(legs=[leg("alice", "bob")]) == {}


def test_a_call_that_was_never_answered_shows_no_sound() -> None:
    asked = [seen for seen in call() if seen.is_request and seen.method == "INVITE"]
    found = audio.checks(case(asked, [{**leg("alice", "bob"), "audio": True}]))
    assert [(check.name, check.result) for check in found] == [
        ("audio-alice-to-bob", "not-seen"), ("audio-bob-to-alice", "not-seen"),
    ]  # fmt: skip


def test_straight_through_a_router_only_his_ear_is_reached() -> None:
    found = judged(is_relayed=False)
    assert found["audio-alice-to-bob"] == (
        "pass", f"Bob hears {COUNT} of {COUNT} packets, from 198.51.100.20:50999 (told 10.77.1.100:40000)"
    )  # fmt: skip
    assert found["audio-bob-to-alice"] == ("fail", f"Alice hears nothing of {COUNT} packets")


@pytest.mark.parametrize(
    ("pcmu", "complaint"),
    [
        (b"\xff" * 4000, "not Alice's recording (likeness 0.00) but silence"),
        (sound.recording("bob"), "but Bob's"),
        (bytes(range(256)) * 16, "but something else"),
    ],
    ids=["silence", "his own", "rubbish"],
)
def test_what_is_not_her_recording_is_not_hers(pcmu: bytes, complaint: str) -> None:
    assert hers(hers=said(pcmu)).endswith(complaint)


def test_what_is_missing_in_the_middle_is_missing() -> None:
    lossy = without(said(), is_packet(7, 8, taps=("bob",)))
    assert hers(hers=lossy) == f"Bob hears {COUNT - 2} of {COUNT} packets: 2 missing between them"


@pytest.mark.parametrize("cut", [range(5), range(COUNT - 5, COUNT)], ids=["beginning", "end"])
def test_who_hangs_up_or_comes_late_cuts_off_what_is_no_loss(cut: range) -> None:
    assert judged(hers=without(said(), is_packet(*cut, taps=("bob",))))["audio-alice-to-bob"][0] == "pass"


def test_who_hears_less_than_half_has_heard_too_little() -> None:
    cut = is_packet(*range(13), taps=("bob",))
    assert hers(hers=without(said(), cut)) == f"Bob hears {COUNT - 13} of {COUNT} packets: too few"


def test_who_speaks_late_need_not_hear_what_was_said_before() -> None:
    """Behind a router nobody knows where he is until he speaks: his phone may have had to wait."""
    cut = is_packet(*range(15), taps=("bob",))
    late = [seen for seen in stream("bob", RELAYED["bob"]) if not is_packet(*range(14))(seen)]
    assert judged(hers=without(said(), cut), his=late)["audio-alice-to-bob"][0] == "pass"
    assert judged(hers=without(said(), cut))["audio-alice-to-bob"][0] == "fail"


def test_what_is_played_over_and_over_is_heard_as_that() -> None:
    assert judged(hers=said(sound.recording("alice") * 10))["audio-alice-to-bob"][0] == "pass"
    wrong_in_the_end = sound.recording("alice") * 7 + sound.recording("bob") * 3
    assert "not Alice's recording" in hers(hers=said(wrong_in_the_end))


def test_numbers_that_begin_anew_are_no_gap() -> None:
    assert judged(hers=said(first=65530))["audio-alice-to-bob"][0] == "pass"


def test_timestamps_that_begin_anew_are_no_gap() -> None:
    late = [
        replace(seen, rtp=seen.rtp and replace(seen.rtp, timestamp=(seen.rtp.timestamp - 8160) % (1 << 32)))
        for seen in said()
    ]
    (one, _) = audio.directions(heard(hers=late))
    assert {seen.rtp.timestamp for seen in one.heard if seen.rtp} >= {(1 << 32) - 160, 0}
    assert one.samples() == sound.linear(sound.recording("alice"))


def test_a_packet_that_is_overtaken_is_not_missing() -> None:
    shuffled = [replace(seen, time=seen.time + 0.00015) if is_packet(4)(seen) else seen for seen in said()]
    assert judged(hers=shuffled)["audio-alice-to-bob"][0] == "pass"


def test_a_stranger_is_not_taken_for_her() -> None:
    stranger = [replace(seen, source=("198.51.100.66", 1)) if seen.tap == "bob" else seen for seen in said()]
    assert hers(hers=stranger).endswith("packets: from 198.51.100.66:1 (told 198.51.100.10:30002)")


def test_her_router_is_a_stranger_where_the_relay_was_promised() -> None:
    past = [replace(seen, source=OUTSIDE) if seen.tap == "bob" else seen for seen in said()]
    assert "from 198.51.100.20:50999 (told 198.51.100.10:30002)" in hers(hers=past)


def test_another_codec_is_not_understood() -> None:
    assert hers(hers=said(payload_type=8)).endswith("of payload type 8, not PCMU")


def test_of_two_calls_at_once_each_has_the_sound_that_comes_to_its_port() -> None:
    both = [replace(seen, call_id=f"{seen.call_id}{shift}") for shift in (0, 10) for seen in moved(call(), shift)]
    sounds = [seen for shift in (0, 10) for seen in moved([*said(), *stream("bob", RELAYED["bob"])], shift)]
    legs = [{**leg("alice", "bob", count=2), "audio": True}]
    together = case(sorted([*both, *sounds], key=lambda seen: seen.time), legs)
    assert [check.result for check in audio.checks(together)] == ["pass", "pass"]
    assert [len(one.heard) for one in audio.directions(together)] == [COUNT] * 4


def test_a_call_from_before_the_run_is_not_judged() -> None:
    """Whoever sat at a softphone called without a sound, and then the lab's phones were asked to."""
    silent = [replace(seen, call_id="earlier") for seen in call()]
    mine = [replace(seen, time=seen.time + 100) for seen in heard().sightings]
    judged = case([*silent, *mine], [{**leg("alice", "bob"), "audio": True}])
    assert [check.result for check in audio.checks(judged)] == ["fail", "fail"]
    judged.began = mine[0].time
    assert [check.result for check in audio.checks(judged)] == ["pass", "pass"]


def test_what_is_said_in_a_call_that_is_up_still_is_that_calls_own() -> None:
    """By other ports, and at the same time; even where nobody but its re-INVITE was seen of it."""
    mine = [replace(seen, time=seen.time + 100) for seen in heard().sightings]
    for began, more in ((99.9, []), (100.2, ["To: <sip:bob@198.51.100.10>;tag=1"])):
        theirs = [*call(), *said(), *stream("bob", RELAYED["bob"])]
        other = [
            replace(seen, call_id="other", time=seen.time + began, headers=[*seen.headers, *more])
            for seen in moved(theirs, 10)
        ]
        judged = case(sorted([*other, *mine], key=lambda seen: seen.time), [{**leg("alice", "bob"), "audio": True}])
        judged.began = mine[0].time
        assert [check.result for check in audio.checks(judged)] == ["pass", "pass"], began
        assert {(one.call, one.call_id) for one in audio.directions(judged)} == {(1, "alice-calls")}


def moved(sightings: list[Sighting], ports: int) -> list[Sighting]:
    """Return a call whose sound goes between ports that are higher by so many."""

    def up(address: Address) -> Address:
        return (address[0], address[1] + ports) if address[1] not in (5060, NAT[1]) else address

    return [
        replace(
            seen, source=up(seen.source), destination=up(seen.destination),
            body=re.sub(r"(?<=m=audio )\d+", lambda port: str(int(port[0]) + ports), seen.body),
            rtp=seen.rtp and replace(seen.rtp, ssrc=f"{seen.rtp.ssrc}{ports}"),
        )
        for seen in sightings
    ]  # fmt: skip


def test_a_branch_that_reaches_nobody_hides_nothing_of_what_a_phone_was_told() -> None:
    """Two bindings of Bob's: one of them is old, and where it leads to nobody is."""
    forwarded = next(seen for seen in call() if seen.is_request and seen.method == "INVITE" and seen.source == PROXY)
    another, time = sdp(("198.51.100.10", 30006)), forwarded.time + 0.00001
    astray = replace(forwarded, time=time, destination=("198.51.100.77", 5060), body=another)
    assert {result for result, _ in judged(his=[*stream("bob", RELAYED["bob"]), astray]).values()} == {"pass"}


def test_a_tap_that_saw_nothing_of_what_was_heard_is_the_labs_fault() -> None:
    unseen = [seen for seen in said() if seen.tap != "alice"]
    assert audio.missed(heard(hers=unseen)) == [f"tap-alice saw none of the {COUNT} packets that Bob heard"]
    assert audio.missed(heard()) == []
    assert audio.missed(heard(hers=[])) == []  # she said nothing, and nobody heard it
    noise = [seen for seen in said(bytes(range(256)) * 16) if seen.tap != "alice"]
    assert audio.missed(heard(hers=noise)) == []  # a stranger's: that is a failed call


def test_what_was_said_before_a_call_is_not_of_it() -> None:
    early = [replace(seen, time=seen.time - 100) for seen in said()]
    assert hers(hers=early) == "Bob hears nothing"


def test_what_each_heard_can_be_listened_to(tmp_path: Path) -> None:
    audio.save(heard(his=[]), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["audio-alice-to-bob-1.wav"]
    with wave.open(str(tmp_path / "audio-alice-to-bob-1.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, COUNT * sound.PACKET)
        first = int.from_bytes(file.readframes(2)[2:], "little", signed=True)
    assert first == sound.linear(sound.recording("alice"))[1]


def test_where_a_packet_is_missing_there_is_silence() -> None:
    (one, _) = audio.directions(heard(hers=without(said(), is_packet(3, taps=("bob",)))))
    samples = one.samples()
    assert len(samples) == COUNT * sound.PACKET
    assert not any(samples[3 * sound.PACKET : 4 * sound.PACKET])


def test_a_session_description_says_where_sound_is_to_go() -> None:
    assert audio.place(sdp(HERS)) == HERS
    media = ["c=IN IP4 192.168.1.1", "m=video 1 RTP/AVP 96", "m=audio 2 RTP/AVP 0", "c=IN IP4 198.51.100.9/127", ""]
    assert audio.place("\r\n".join(media)) == ("198.51.100.9", 2)
    assert audio.place("v=0\r\nm=audio 2 RTP/AVP 0\r\n") is None
    assert audio.place("") is None


def test_each_way_ends_at_the_phones() -> None:
    assert {way[-1][0] for way in RELAYED.values()} == {"alice", "bob"}
    assert STRAIGHT["alice"][-1][1:] == (OUTSIDE, ("198.51.100.200", 40000))
    assert RELAYED["alice"][-1][1] == TO_HIM
