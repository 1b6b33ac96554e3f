"""`nat`: what happens to a router while the lab runs: another kind, a reboot, a bad line; and what it holds."""

from __future__ import annotations

import argparse

from labkit import engine, settings, stack
from labkit.outcome import Exit, Mistake
from nat import kinds

# Verb of `natctl` -> (its arguments, what it does). The router reads and judges the arguments.
VERBS = {
    "set": ("KIND", "be another router, of a kind that `--nat` takes; then it is measured"),
    "lifetime": ("SECONDS", "forget a mapping after so long a silence; then it is measured"),
    "rebind": ("", "forget all mappings, and give other ports"),
    "change-ip": ("", "have another public address; not where each phone has one of its own"),
    "reboot": ("[SECONDS]", "be away for a while, and come back with nothing remembered"),
    "flush": ("", "forget all mappings"),
    "block-udp": ("[on|off]", "drop all UDP"),
    "block-audio": ("in|out|both|off", "drop the sound that comes into the home, that leaves it, or both"),
    "loss": ("PERCENT", "lose so many of a hundred packets, in both directions; 0: none"),
    "delay": ("MILLISECONDS", "hold packets back, each way; 0: not"),
    "drop-next": ("PATTERN [TIMES]", "drop the next message with such a first line: 'SIP/2.0 200*(INVITE)'"),
    "clear": ("", "no loss, no delay, nothing waits to be dropped, and UDP and sound pass"),
    "show": ("", "what it is, and its mappings with age and time left"),
    "rules": ("KIND", "the rules of a kind; nothing is loaded"),
}
MEASURED = ("set", "lifetime")  # after these the pod's probe says whether the router is what it now claims to be


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "./lab nat [--home HOME] [VERB [ARGUMENT ...]]"
    parser.add_argument("--home", choices=("alice", "bob"), default="alice", help="whose router (bob: two homes only)")
    # One list: a verb and its arguments apart would not be found behind an option.
    parser.add_argument("words", nargs="*", metavar="VERB ARGUMENT", help="without any, the verbs are listed")


def run(given: argparse.Namespace) -> int:
    """Return what `natctl` does: 0, 2, or 127 for what this kernel cannot do; 3 where declared and measured differ."""
    if not given.words:
        print(listing())
        return Exit.PASS
    verb, *arguments = given.words
    if verb not in VERBS:
        raise Mistake(f"nat {verb}: unknown; {kinds.nearest(verb, VERBS)}")
    if verb in {"set", "rules"} and len(arguments) == 1:
        arguments = [_kind(verb, arguments[0])]
    lab = settings.load()
    states = stack.running(lab) if engine.is_running() else {}  # nothing is installed or started to find out
    if not states:
        raise Mistake("no lab is up: `./lab up` starts one")
    lab = settings.load_running(stack.started_with(lab))
    if given.home not in lab.routers:
        raise Mistake(f"--home {given.home}: Bob has no router of his own here: `./lab up --topology two-homes`")
    if states.get(lab.routers[given.home]) != "running":
        raise Mistake(f"the router {lab.routers[given.home]} does not run: `./lab up` starts the lab anew")
    code = stack.ask(lab, lab.routers[given.home], ["natctl", verb, *arguments])
    if code == Exit.PASS and verb in MEASURED:
        code = max(stack.ask(lab, pod, ["remeasure"]) for pod in _pods(lab, given.home))
    return code


def listing() -> str:
    """Return the verbs, one a line."""
    return "\n".join(f"./lab nat {f'{verb} {arguments}':<26} {what}" for verb, (arguments, what) in VERBS.items())


def is_as_started(lab: settings.Settings) -> bool:
    """Say whether the routers of a running lab are of the kinds of these settings: they may have been changed since."""
    kinds_of = {"alice": lab.values["NAT_TYPE"], "bob": lab.values["NAT_TYPE_BOB"]}
    return all(kind_now(lab, router) == kinds_of[home] for home, router in lab.routers.items())


def kind_now(lab: settings.Settings, router: str) -> str:
    """Return what a running router calls itself, as `kinds.parse` reads it; something else where none answers."""
    return stack.told(lab, router, "natctl", "show").decode(errors="replace").partition(": ")[0]


def _kind(verb: str, text: str) -> str:
    """Return a kind as the router reads it: a file of the user's is not there."""
    try:
        return settings.kind_text(text)
    except kinds.UnknownKind as error:
        raise Mistake(f"nat {verb}: {error}") from error


def _pods(lab: settings.Settings, home: str) -> list[str]:
    """Return the pods behind this home's router."""
    return [f"{home}-home", *(["bob-home"] if lab.values["LAB_TOPOLOGY"] == "same-home" else [])]
