"""`call`: another call in the running lab, judged like the first."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from labkit import engine, evidence, settings, stack
from labkit.outcome import Exit, LabBroken, Mistake, say
from labkit.settings import ROOT

MOST_CALLS = 1000


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
        "--register", default="", metavar="NAME,...", help="who registers anew before (after the router changed)"
    )


def flows() -> list[str]:
    """Return what two phones can do with one another: there is a scenario for the caller of each."""
    scenarios = (path.stem for path in (ROOT / "sipp_scenarios").glob("uac_*.xml"))
    return sorted(name.removeprefix("uac_") for name in scenarios if name != "uac_register")


def run(given: argparse.Namespace) -> int:
    """Return the verdict's exit code."""
    if not 1 <= given.count <= MOST_CALLS:
        raise Mistake(f"--count {given.count}: must be from 1 to {MOST_CALLS}")
    lab = settings.load()
    if engine.reach().engine is None or not stack.is_up(lab):  # nothing is installed or started to find out
        raise Mistake("no lab is up: `./lab up` starts one")
    lab = settings.load_running(stack.started_with(lab))
    unknown = set(given.register.replace(",", " ").split()) - {"alice", "bob"}
    if unknown:
        raise Mistake(f"--register {','.join(sorted(unknown))}: unknown; the phones are alice, bob")
    arguments = ["--from", given.caller, "--count", str(given.count), "--hangup", given.hangup, "--flow", given.flow]
    if given.register:
        arguments += ["--register", given.register]
    return place(lab, [*arguments, *(["--at-once"] if given.at_once else [])], sys.argv[1:])[0]


def place(lab: settings.Settings, arguments: Sequence[str], again: Sequence[str]) -> tuple[int, Path]:
    """Have the phones call, and return the verdict's exit code and the run's folder. Raises LabBroken.

    `again` is the verb with the options that repeats it.

    Bob's container does the asking: Alice may be any phone.
    """
    run = secrets.token_hex(6)
    code = stack.ask(lab, "bob", ["phone", "call", "--run", run, *arguments])
    folder = evidence.fetch(lab, run)
    if folder is None or not (folder / "verdict.json").exists() or code not in set(Exit) - {Exit.USAGE}:
        raise LabBroken(f"the calls could not be judged; evidence in {evidence.collect(lab, again, folder)}")
    if code != Exit.PASS:
        evidence.collect(lab, again, folder)
    say(f"captures, story, ladder and verdict in {folder}")
    return code, folder
