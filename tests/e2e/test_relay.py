"""The sound of a call whose router changes in the middle of it, or whose other party speaks first."""

from __future__ import annotations

import itertools
import json
import struct
import time
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from labkit.settings import ROOT
from tests.e2e.lab import Lab, Run, standing

pytestmark = pytest.mark.e2e

LOOK_S = 60  # before a test that waits for a fact gives up
SILENCE_S = 1.0  # that a party may hear while the relay finds out where the other has gone
BOTH = ("audio-alice-to-bob", "audio-bob-to-alice")
OVERLAY = "tests/e2e/overlays/public-audio.yaml"
MEDIA = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8060/media').read().decode())"


@pytest.fixture(autouse=True)
def as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test finds what another has done to the router."""
    yield
    if "router" in request.fixturenames:
        lab: Lab = request.getfixturevalue("router")
        lab.restore()


@contextmanager
def calling(lab: Lab, *arguments: str) -> Iterator[Future[Run]]:
    """A call that goes on meanwhile; its result is its run."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(lab.call, *arguments)


def until(is_so: Callable[[], bool], call: Future[Run]) -> None:
    """Return when something is so in a call that goes on."""
    deadline = time.monotonic() + LOOK_S
    while not is_so():
        assert not call.done(), call.result().explain()
        assert time.monotonic() < deadline
        time.sleep(0.05)  # between looks; what is waited for is the predicate


def relayed(lab: Lab) -> list[dict[str, Any]]:
    """Return what the proxy says of the calls whose media it relays."""
    said: dict[str, list[dict[str, Any]]] = json.loads(lab.execute("proxy", "python3", "-c", MEDIA))
    return said["sessions"]


def both_speak(lab: Lab, calls: int = 1) -> bool:
    speaking = [each for each in relayed(lab) if min(each["caller_packets"], each["callee_packets"]) > 25]
    return len(speaking) >= calls


def heard(run: Run, name: str) -> tuple[float, float]:
    """Return how many seconds one party heard of the other, and the longest silence in them."""
    with wave.open(str(run.folder / f"{name}-1.wav")) as file:
        rate, data = file.getframerate(), file.readframes(file.getnframes())
    samples = struct.unpack(f"<{len(data) // 2}h", data)
    runs = itertools.groupby(samples, lambda sample: sample == 0)
    silences = [len(list(group)) for is_silent, group in runs if is_silent]
    return len(samples) / rate, max(silences, default=0) / rate


@pytest.mark.alone
@pytest.mark.parametrize("event", ["rebind", "change-ip"])
def test_a_router_that_changes_in_mid_call_costs_less_than_a_second_of_sound(router: Lab, event: str) -> None:
    with calling(router, "--from", "alice", "--hangup", "caller", "--audio", "4") as call:
        until(lambda: both_speak(router), call)
        router.execute("nat", "natctl", event)
        run = call.result()
    for name in BOTH:
        seconds, silence = heard(run, name)
        assert seconds > 3.5, run.explain()
        assert 0.02 <= silence <= SILENCE_S, f"{name}: {silence} s"  # something was lost: it did change


@pytest.mark.alone
def test_a_tap_that_stands_still_for_a_moment_has_seen_all(lab: Lab) -> None:
    """On a busy machine it does, and 12 calls at the proxy, both legs of each, are 2,400 packets a second."""
    stall = "kill -STOP $(pidof tcpdump); sleep 0.15; kill -CONT $(pidof tcpdump)"
    with calling(lab, "--from", "alice", "--count", "12", "--at-once", "--audio", "4") as call:
        until(lambda: both_speak(lab, 12), call)
        lab.execute("tap-proxy", "sh", "-c", stall)
        run = call.result()
    assert run.verdict == "pass", run.explain()


@pytest.fixture(scope="module")
def public() -> Iterator[Lab]:
    """A lab without a relay, whose Alice names her router's address for her sound, as a phone that asked by STUN."""
    with standing("public-audio", {"SIP_PROXY_RELAY": "off", "LAB_OVERLAY": str(ROOT / OVERLAY)}) as lab:
        yield lab


@pytest.mark.parametrize(("kind", "is_heard"), [("port-preserving", True), ("naive-linux", False)])
def test_a_naive_router_gives_the_port_away_when_the_other_party_speaks_first(
    public: Lab, kind: str, is_heard: bool
) -> None:
    """Her first packets are held up in the router, so that Bob's are there before hers. What comes for a port that
    nobody has used yet is the router's own to Linux, unless it is dropped: then hers gets another one."""
    public.become(kind)
    public.register("alice", "bob")
    public.execute("nat", "natctl", "block-audio", "out")
    with calling(public, "--from", "bob", "--hangup", "caller", "--audio", "6") as call:
        until(lambda: _has_spoken(public, "bob"), call)
        public.execute("nat", "natctl", "block-audio", "off")
        run = call.result()
    assert (run.folder / "audio-alice-to-bob-1.wav").exists(), run.explain()
    assert (run.folder / "audio-bob-to-alice-1.wav").exists() == is_heard, run.explain()
    if not is_heard:
        assert "audio-lost-to-alice" in run.facts


def _has_spoken(lab: Lab, name: str) -> bool:
    """Say whether the tap at this phone has more than a few packets of sound in this run's captures."""
    count = "import pathlib; print(sum(p.stat().st_size for p in pathlib.Path('/lab/captures').glob('%s*.pcap')))"
    return int(lab.execute("observer", "python3", "-c", count % name)) > 5 * 200
