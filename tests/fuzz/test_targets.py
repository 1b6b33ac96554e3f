"""The coverage-guided fuzzers' targets hold for what they begin with, and do find what is there to be found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.core import validate
from proxy.core.engine import Engine
from proxy.core.media import Media
from proxy.sip.framing import StreamReader
from proxy.sip.message import Message
from tests.fuzz import fuzz_engine, fuzz_parse, seeds

TARGETS = {"parse": fuzz_parse.check, "engine": fuzz_engine.check}
SEEDS = seeds.inputs()


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_passes(name: str) -> None:
    assert len(SEEDS[name]) > 61
    for data in (b"", *SEEDS[name]):
        TARGETS[name](data)


def test_seeds_and_targets_number_the_steps_alike() -> None:
    assert seeds.SEPARATOR == fuzz_engine.SEPARATOR
    assert (seeds.SDP, seeds.MEDIA_PORTS) == (fuzz_engine.SDP, fuzz_engine.MEDIA_PORTS)
    assert fuzz_engine.PROXIES[seeds.RELAYED]().engine.media is not None
    names = [step.__name__.upper() for step in fuzz_engine.STEPS]
    assert [getattr(seeds, name) for name in names] == list(range(len(names)))
    taken = {step[0] for data in SEEDS["engine"] for step in data[1:].split(seeds.SEPARATOR)}
    assert taken == set(range(len(names)))


def fails(name: str) -> bool:
    for data in SEEDS[name]:
        try:
            TARGETS[name](data)
        except Exception:
            return True
    return False


def no_end(self: Engine, now: float) -> list[object]:
    return []


@pytest.mark.parametrize(
    ("name", "owner", "attribute", "broken"),
    [
        ("parse", Message, "encode", lambda self: self.start + b"\r\n\r\n"),
        ("parse", StreamReader, "feed", lambda self, data: [data]),
        ("parse", validate, "validate", lambda request: {}[request.uri]),
        ("engine", validate, "validate", lambda request: {}[request.uri]),
        ("engine", Engine, "handle_timer", no_end),
        ("engine", Media, "close", lambda self, session, why: None),
    ],
)
def test_the_detector_detects(
    name: str, owner: object, attribute: str, broken: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, attribute, broken)
    assert fails(name)
