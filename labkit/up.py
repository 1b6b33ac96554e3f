"""`up`: start the lab, place the first calls, print the ladder and the verdict. The lab stays up."""

from __future__ import annotations

import argparse
import sys

from labkit import call, certificates, desk, engine, evidence, images, nat, nats, settings, stack, subnets
from labkit.outcome import Exit, LabBroken, say


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--without", default="", metavar="REMEDY,...",
        help=f"switch NAT remedies off and see what breaks, of: {', '.join(settings.REMEDIES)}",
    )  # fmt: skip
    for name in ("alice", "bob"):
        parser.add_argument(
            f"--{name}", default="", metavar="PHONE",
            help=f"{name.capitalize()}'s phone, of: {', '.join(settings.PHONES)} (for TLS always baresip)",
        )  # fmt: skip
    for option, whose in (("--nat", "Alice's router"), ("--bob-nat", "Bob's, with --topology two-homes")):
        parser.add_argument(
            option, default="", metavar="KIND",
            help=f"{whose}: a kind (`./lab nats` lists them), axes (mapping=address-dependent,lifetime=5), a TOML file",
        )  # fmt: skip
    parser.add_argument(
        "--topology", default="", metavar="NAME", help=f"who is at home where, of: {', '.join(settings.TOPOLOGIES)}"
    )
    for option, whose in (("--transport", "what the phones speak"), ("--bob-transport", "and Bob, if otherwise")):
        parser.add_argument(option, default="", metavar="|".join(settings.TRANSPORTS), help=whose)


def run(given: argparse.Namespace) -> int:
    """Return the verdict's exit code; whatever interrupts it leaves nothing behind that was not there before."""
    lab = settings.load(
        given.without, given.alice, given.transport, given.bob, given.bob_transport,
        nat=given.nat, bob_nat=given.bob_nat, topology=given.topology,
        page=None,
    )  # fmt: skip
    prepare(lab)
    desk.choose(lab)
    lab.values["LAB_CONFIG"] = stack.fingerprint(lab)
    was_up = stack.is_up(lab)
    if was_up and stack.started_with(lab).get("LAB_CONFIG") != lab.values["LAB_CONFIG"]:
        say("the running lab is another one: starting it anew")
        was_up = False
    elif was_up and not nat.is_as_started(lab):
        say("a router of the running lab is of another kind by now: starting it anew")
        was_up = False
    if not was_up:
        stack.remove(lab)
        try:
            stack.start(lab)
        except LabBroken:
            evidence.bury(lab, sys.argv[1:])
            raise
        except KeyboardInterrupt:
            stack.remove(lab)
            raise
    try:
        code = call.place_or_remove(lab, ["--audio"], sys.argv[1:])
    except KeyboardInterrupt:
        if not was_up:
            stack.remove(lab)
        raise
    if code == Exit.PASS:
        say("the lab stays up: `./lab call` calls again, `./lab down` removes it")
        if desk.address(lab):
            say(f"see the calls as they happen: {desk.address(lab)}; keep them: `./lab report`")
    return code


def prepare(lab: settings.Settings) -> None:
    """Make sure that a lab of these settings can be started. Raises Mistake."""
    engine.ensure()
    subnets.check(lab)
    if lab.has_tls:
        certificates.provide(lab)
    images.ensure(lab)
    nats.check(lab)
