"""`call`: another call in the running lab, judged like the first."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from labkit import engine, evidence, nat, settings, stack
from labkit.outcome import Exit, LabBroken, Mistake, say
from labkit.settings import ROOT
from nat import kinds
from sipp_scenarios.parts import EVENTS, audible, eventful

MOST_CALLS = 1000
LEAST_AUDIO_S, MOST_AUDIO_S = 0.5, 30.0  # a phone's recording once (observer/sound.py); what the judge can listen to
NO_LAB = "no lab is up: `./lab up` starts one"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--from", dest="caller", choices=("alice", "bob"), default="alice", help="who calls")
    parser.add_argument("--count", type=int, default=1, help="how many calls, one after another")
    parser.add_argument("--at-once", action="store_true", help="all of them at the same time")
    parser.add_argument("--hangup", choices=("caller", "callee"), default="callee", help="who hangs up")
    parser.add_argument(
        "--flow", choices=flows(), default="call", metavar="FLOW",
        help=f"what the two do, of: {', '.join(flows())} (sipp_scenarios/README.md)",
    )  # fmt: skip
    parser.add_argument(
        "--audio", type=float, nargs="?", const=LEAST_AUDIO_S, metavar="SECONDS",
        help="the two play something, for so long if given, and it is judged who is heard",
    )  # fmt: skip
    parser.add_argument(
        "--register", default="", metavar="NAME,...", help="who registers anew before (after the router changed)"
    )
    parser.add_argument(
        "--event", choices=EVENTS, default="", help="what happens to Alice's router while the call is up"
    )


def flows() -> list[str]:
    """Return what two phones can do with one another: there is a scenario for the caller of each."""
    scenarios = (path.stem for path in (ROOT / "sipp_scenarios").glob("uac_*.xml"))
    return sorted(name.removeprefix("uac_") for name in scenarios)


def run(given: argparse.Namespace) -> int:
    """Return the verdict's exit code."""
    if not 1 <= given.count <= MOST_CALLS:
        raise Mistake(f"--count {given.count}: must be from 1 to {MOST_CALLS}")
    lab = settings.load()
    if not engine.is_running():  # nothing is installed or started to find out
        raise Mistake(NO_LAB)
    lab = settings.load_running(stack.started_with(lab))
    died = fallen(lab)
    if died:
        evidence.bury(lab, sys.argv[1:])
        raise LabBroken(f"{', '.join(died)}; the lab is removed: `./lab up` starts one anew")
    if not stack.is_up(lab):
        raise Mistake(NO_LAB)
    unknown = set(given.register.replace(",", " ").split()) - {"alice", "bob"}
    if unknown:
        raise Mistake(f"--register {','.join(sorted(unknown))}: unknown; the phones are alice, bob")
    is_sipp = lab.values[f"LAB_{given.caller.upper()}"] == "sipp"
    if given.event and not (is_sipp and given.count == 1 and given.flow in eventful()):
        raise Mistake(f"--event {given.event}: needs one call, by a SIPp, of the flows {', '.join(eventful())}")
    if given.event and (why := cannot_happen(lab, given.event)):
        raise Mistake(f"--event {given.event}: {why}")
    if given.audio is not None and not LEAST_AUDIO_S <= given.audio <= MOST_AUDIO_S:
        raise Mistake(f"--audio {given.audio:g}: must be from {LEAST_AUDIO_S:g} to {MOST_AUDIO_S:g} seconds")
    if given.audio and given.flow not in audible():
        raise Mistake(f"--audio: needs one of the flows {', '.join(audible())}")
    arguments = ["--from", given.caller, "--count", str(given.count), "--hangup", given.hangup, "--flow", given.flow]
    if given.event:
        arguments += ["--event", given.event]
    if given.audio:
        arguments += ["--audio", f"{given.audio:g}"]
    if given.register:
        arguments += ["--register", given.register]
    return place_or_remove(lab, [*arguments, *(["--at-once"] if given.at_once else [])], sys.argv[1:])


def cannot_happen(lab: settings.Settings, event: str) -> str:
    """Return why nothing like this can happen to Alice's router as it is now, or ""."""
    try:
        return kinds.cannot(event, kinds.parse(nat.kind_now(lab, lab.routers["alice"])))
    except kinds.UnknownKind:  # a router that does not say what it is will not be asked for this either
        return ""


def place_or_remove(lab: settings.Settings, arguments: Sequence[str], again: Sequence[str]) -> int:
    """Have the phones call, and return the verdict's exit code; a lab that broke because a part of it died is removed.

    Raises LabBroken.
    """
    code: int = Exit.BROKEN
    try:
        code, _ = place(lab, arguments, again)
    finally:
        died = fallen(lab) if code == Exit.BROKEN else []
        if died:
            say(f"{', '.join(died)}: the lab is removed")
            stack.remove(lab)
    return code


def fallen(lab: settings.Settings) -> list[str]:
    """Return what has died of a lab that runs otherwise, and how; nothing of one that is not up, or not up yet."""
    states = stack.running(lab)
    if "running" not in states.values() or "created" in states.values():
        return []
    services = stack.config(lab, "--services").split()
    return [
        f"{service} is {states.get(service, 'gone')}" for service in services if states.get(service) != "running"
    ]


def place(lab: settings.Settings, arguments: Sequence[str], again: Sequence[str]) -> tuple[int, Path]:
    """Have the phones call, and return the verdict's exit code and the run's folder. Raises LabBroken.

    `again` is the verb with the options that repeats it.

    Bob's container does the asking: Alice may be any phone.
    """
    run = secrets.token_hex(6)
    code = stack.ask(lab, "bob", ["phone", "call", "--run", run, *arguments])
    folder = evidence.fetch(lab, run)
    if folder is None or not (folder / "verdict.json").exists() or code not in {Exit.PASS, Exit.FAIL, Exit.BROKEN}:
        raise LabBroken(f"the calls could not be judged; evidence in {evidence.collect(lab, again, folder)}")
    if code != Exit.PASS:
        evidence.collect(lab, again, folder)
    say(f"captures, story, ladder and verdict in {folder}")
    return code, folder
