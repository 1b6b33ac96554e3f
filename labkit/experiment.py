"""`experiment`: take one remedy away behind one kind of NAT: what happened, beside what should have."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from labkit import cells, evidence, settings, stack
from labkit.cells import Seen
from labkit.expectations import ALL_ON, EXPECTATIONS, Expectation, in_words
from labkit.outcome import Exit, LabBroken, Mistake, say
from labkit.settings import Settings
from labkit.up import prepare
from nat import kinds

KEEPALIVE_S = "1"  # where phones are silent


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("remedy", help=f"what is taken away, of: {', '.join(EXPECTATIONS)}")
    parser.add_argument("--nat", default=kinds.BASE, metavar="KIND", help="behind which router (`./lab nats`)")


def run(given: argparse.Namespace) -> int:
    """Return 0 when it happened as it should, 1 when not, 127 when this kernel cannot do it."""
    expected = EXPECTATIONS.get(given.remedy)
    if expected is None:
        raise Mistake(f"{given.remedy}: unknown; {kinds.nearest(given.remedy, EXPECTATIONS)}")
    if given.nat not in kinds.PRESETS:
        near = kinds.nearest(given.nat, kinds.PRESETS)
        raise Mistake(f"--nat {given.nat}: what should happen is known for presets only; {near}")
    with standing(expected) as lab:
        seen = try_one(lab, expected, given.nat, sys.argv[1:])
        folder = evidence.fetch(lab, seen.run) if seen.run else None
    print(f"{seen.ladder}\n{report(expected, given.nat, seen)}")
    if folder:
        say(f"captures, story, ladder and verdict in {folder}")
    if seen.unsupported:
        return Exit.UNSUPPORTED
    return Exit.PASS if is_as_expected(expected, given.nat, seen) else Exit.FAIL


def report(expected: Expectation, kind: str, seen: Seen) -> str:
    """Return what should have happened beside what did."""
    what = f"{expected.remedy} off: {expected.off}" if off(expected) else "all remedies on"
    lines = [f"{kind}, {what}", f"  should:    {in_words(expected.causes(kind))}", f"  happened:  {seen.text}"]
    if not seen.unsupported:
        wrong = [in_words(seen.causes), *seen.failed] if not off(expected) else [in_words(seen.causes)]
        lines.append("as it should be" if is_as_expected(expected, kind, seen) else f"NOT as it should be: "
                     f"{', '.join(wrong)}")  # fmt: skip
    return "\n".join(lines)


def is_as_expected(expected: Expectation, kind: str, seen: Seen) -> bool:
    """Say whether what was seen is what should be: the causes, and with all remedies on and calls that work, in sound
    too, no check that failed."""
    is_whole = bool(off(expected)) or seen.causes != {"works"} or not seen.failed
    return seen.causes == expected.causes(kind) and is_whole


@contextmanager
def standing(expected: Expectation, place: Mapping[str, str] = MappingProxyType({})) -> Iterator[Settings]:
    """A lab without this remedy, removed afterwards; `place` is what subnets.beside says. Raises Mistake, LabBroken."""
    lab = suitable(place)
    prepare(lab)
    lab.values["SIP_PROXY_USERS"] = ""  # a lost 407 would end every call before it has begun
    lab.values["PHONE_REFRESH_S"] = "3600"  # who speaks does so because the experiment asks for it
    lab.values |= _proxy(expected)
    if stack.remove(lab):
        say(f"the lab {lab.project} is another one: it was removed")
    try:
        stack.start(lab)
        yield lab
    except LabBroken:
        evidence.bury(lab, sys.argv[1:])
        raise
    finally:
        stack.remove(lab)


def suitable(place: Mapping[str, str] = MappingProxyType({})) -> Settings:
    """Return the settings of a lab for experiments. Raises Mistake."""
    # What should happen is known of SIPp by UDP and one home, whatever `.env` says.
    phones = {"alice": "sipp", "bob": "sipp", "transport": "udp", "bob_transport": "udp"}
    return settings.load(**phones, topology="one-home", **place)


def take_away(lab: Settings, expected: Expectation) -> None:
    """Give a lab that stands a proxy without this remedy, and with all others. Raises LabBroken."""
    if any(lab.values[name] != value for name, value in _proxy(expected).items()):
        lab.values |= _proxy(expected)
        stack.renew(lab, "proxy", "tap-proxy", "observer")  # who says in the verdict what was off


def _proxy(expected: Expectation) -> dict[str, str]:
    """Return the proxy's settings for this experiment."""
    return {"WITHOUT": off(expected), "SIP_PROXY_KEEPALIVE": KEEPALIVE_S if expected.silence else ""}


def off(expected: Expectation) -> str:
    """Return the remedy that is taken away, or nothing."""
    return "" if expected.remedy == ALL_ON else expected.remedy


def try_one(lab: Settings, expected: Expectation, kind: str, again: Sequence[str]) -> Seen:
    """Do the experiment in a lab that stands. Raises LabBroken."""
    profile = kinds.PRESETS[kind].profile
    is_silent = bool(expected.silence and profile["lifetime"] and profile["udp"] == "passed")
    text = f"{kind},lifetime={expected.silence}" if is_silent else kind
    return cells.run(lab, {"alice": text}, expected.caller, again, is_silent=is_silent, has_audio=expected.has_audio)
