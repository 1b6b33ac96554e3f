"""Who hears whom, as the taps at both ends heard it: with the relay, without, and where something is in the way."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from typing import Any

import pytest

from nat.kinds import PRESETS
from tests.e2e.lab import Command, Lab, Run, standing

pytestmark = pytest.mark.e2e

BOTH = {"audio-alice-to-bob", "audio-bob-to-alice"}
# By UDP nobody is reached behind the one; the other writes itself into the SDP, and then sends from another port.
UNHEARD = {"udp-blocked", "sip-alg"}
WRONG = {"silence": "bytes([255]) * 4000", "his own": "sound.recording('bob')", "rubbish": "bytes(range(256)) * 16"}


def results(run: Run) -> dict[str, str]:
    """Return the checks of what was heard."""
    return {name: result for name, result in run.checks.items() if name in BOTH}


@pytest.mark.parametrize("caller", ["alice", "bob"])
def test_both_hear_each_other_through_the_router(lab: Lab, caller: str) -> None:
    run = lab.call("--from", caller, "--audio")
    assert run.code == 0, run.explain()
    assert results(run) == dict.fromkeys(BOTH, "pass")
    for name in BOTH:
        with wave.open(str(run.folder / f"{name}-1.wav")) as file:
            assert file.getframerate() == 8000
            assert 0 < file.getnframes() / 8000 <= 0.5
    assert "audio: " in (run.folder / "ladder.txt").read_text(encoding="utf-8")
    assert {message["tap"] for message in run.messages}.isdisjoint({"alice", "bob"})  # these taps take sound only


def test_five_seconds_are_heard_whole(lab: Lab) -> None:
    run = lab.call("--audio", "5")
    assert run.code == 0, run.explain()
    with wave.open(str(run.folder / "audio-bob-to-alice-1.wav")) as file:
        assert file.getnframes() / 8000 > 4.5


def test_of_calls_at_the_same_time_each_is_heard(lab: Lab) -> None:
    run = lab.call("--from", "alice", "--audio", "--count", "5", "--at-once")
    assert run.code == 0, run.explain()
    assert len(list(run.folder.glob("audio-*.wav"))) == 10


def test_nothing_is_said_of_sound_where_nobody_was_to_be_heard(lab: Lab) -> None:
    run = lab.call()
    assert results(run) == {}
    assert not list(run.folder.glob("*.wav"))
    assert not (run.folder / "alice.pcap").exists()


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_her_recording_is_not_taken_for_it(lab: Lab, what: str) -> None:
    """Her phone plays something else: Bob hears all of it, and it is wrong."""
    assert "written" in _play(lab, WRONG[what])
    try:
        run = lab.call("--audio")
    finally:
        _play(lab, "sound.recording('alice')")
    assert results(run) == {"audio-alice-to-bob": "fail", "audio-bob-to-alice": "pass"}
    assert "not Alice's recording" in run.explain()


def _play(lab: Lab, recording: str) -> str:
    write = f"import pathlib; pathlib.Path('/tmp/alice.pcmu').write_bytes({recording}); print('written')"
    return lab.execute("alice", "env", "PYTHONPATH=/srv", "python3", "-c", f"from observer import sound; {write}")


@pytest.mark.parametrize(
    ("way", "lost", "says"),
    [
        ("in", {"audio-bob-to-alice"}, {"audio-lost-to-alice": "Bob's audio goes to"}),
        ("out", {"audio-alice-to-bob"}, {"audio-lost-to-bob": "Alice's audio goes to"}),
        ("both", BOTH, {"audio-lost-to-alice": "Bob's audio", "audio-lost-to-bob": "Alice's audio"}),
    ],
)
def test_a_router_that_blocks_it_is_named(lab: Lab, way: str, lost: set[str], says: dict[str, str]) -> None:
    lab.execute("nat", "natctl", "block-audio", way)
    try:
        run = lab.call("--audio")
    finally:
        lab.execute("nat", "natctl", "block-audio", "off")
    assert {name for name, result in results(run).items() if result != "pass"} >= lost, run.explain()
    for code, words in says.items():
        assert run.facts[code].startswith(words)
    told = " ".join(run.facts.values())
    assert f"the router did not pass it on: `block-audio {way}`" in told, told


@pytest.fixture(scope="module")
def straight() -> Iterator[Lab]:
    """A lab whose proxy relays nothing."""
    with standing("straight", {"SIP_PROXY_RELAY": "off"}) as lab:
        yield lab


def test_without_the_relay_one_of_them_hears_nothing_and_it_is_said_why(straight: Lab) -> None:
    straight.become("home")
    straight.register("alice", "bob")
    run = straight.call("--audio")
    assert results(run) == {"audio-alice-to-bob": "pass", "audio-bob-to-alice": "fail"}, run.explain()
    hers = straight.settings.values["ALICE_IP"]
    assert run.facts["audio-lost-to-alice"] == (
        f"Bob's audio goes to {hers}:40000, a private address: the Internet drops it, and Alice hears nothing"
    )
    assert run.checks["no-private-on-internet"] == "pass"
    assert "works" in run.facts  # the call is whole; its sound is not


def test_without_a_router_they_need_no_relay(straight: Lab) -> None:
    straight.become("none")
    straight.register("alice", "bob")
    run = straight.call("--audio")
    assert run.code == 0, run.explain()
    assert results(run) == dict.fromkeys(BOTH, "pass")


@pytest.mark.long
@pytest.mark.parametrize("kind", [kind for kind in PRESETS if kind not in UNHEARD])
def test_five_seconds_are_heard_behind_every_kind(real: Lab, kind: str) -> None:
    """By baresip, which shares no line with SIPp."""
    real.become(kind)
    real.register("alice", "bob")
    run = real.call("--audio", "5")
    assert run.code == 0, run.explain()
    assert results(run) == dict.fromkeys(BOTH, "pass")


@pytest.fixture(scope="module")
def real() -> Iterator[Lab]:
    """A lab of real phones. Some routers forget who says nothing but by RTP for five seconds."""
    with standing("real", {"SIP_PROXY_KEEPALIVE": "2"}, alice="baresip", bob="baresip") as lab:
        yield lab


@pytest.mark.parametrize("phones", [("baresip", "baresip"), ("sipp", "baresip")], ids="-".join)
def test_a_real_phone_is_heard_and_hears(command: Command, phones: Any) -> None:
    done = command.run("up", "--alice", phones[0], "--bob", phones[1])
    run = command.read(done)
    assert run.code == 0, done.stdout + run.explain()
    assert results(run) == dict.fromkeys(BOTH, "pass")
    assert done.stdout.splitlines()[-1] == "verdict: PASS  alice → bob, bob → alice"  # test_real_phones has the third
