"""`up`: start the lab, place the first calls, print the ladder and the verdict. The lab stays up."""

from __future__ import annotations

import argparse
import sys

from labkit import call, engine, evidence, images, settings, stack, subnets
from labkit.outcome import Exit, LabBroken, say


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--without", default="", metavar="REMEDY,...",
        help=f"switch NAT remedies off and see what breaks, of: {', '.join(settings.REMEDIES)}",
    )  # fmt: skip
    parser.add_argument("--alice", default="sipp", metavar="PHONE", help=f"her phone, of: {', '.join(settings.ALICES)}")


def run(given: argparse.Namespace) -> int:
    """Return the verdict's exit code; whatever interrupts it leaves nothing behind that was not there before."""
    lab = settings.load(given.without, given.alice)
    engine.ensure()
    subnets.check(lab)
    images.ensure(lab)
    lab.values["LAB_CONFIG"] = stack.fingerprint(lab)
    was_up = stack.is_up(lab)
    if was_up and stack.started_with(lab).get("LAB_CONFIG") != lab.values["LAB_CONFIG"]:
        say("the running lab is another one: starting it anew")
        was_up = False
    if not was_up:
        stack.remove(lab)
        try:
            stack.start(lab)
        except LabBroken:
            try:
                say(f"evidence in {evidence.collect(lab, sys.argv[1:])}")
            finally:  # a Ctrl-C here, or a disk that is full, leaves nothing behind either
                stack.remove(lab)
            raise
        except KeyboardInterrupt:
            stack.remove(lab)
            raise
    try:
        code, _ = call.place(lab, [], sys.argv[1:])
    except KeyboardInterrupt:
        if not was_up:
            stack.remove(lab)
        raise
    if code == Exit.PASS:
        say("the lab stays up: `./lab call` calls again, `./lab down` removes it")
    return code
