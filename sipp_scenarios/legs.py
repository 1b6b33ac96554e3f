"""What phones are asked for, leg by leg, and the verdict: the same for a SIPp and for any other phone.

A leg is {"from", "to", "count", "at_once", "hangup": "caller" or "callee", "flow"}: one phone calls another, or does
with it what the scenarios of another flow than "call" tell.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from observer.control import PATIENCE_S, Request, ask, await_room

START_S = 30.0  # for everybody who is needed for a call to be there
CALL_S = 16.0  # longer than a call that fails at any of its waits
# Whom a transfer leads to: a third phone, which Bob's program is too while such a flow runs, on a port of its own.
THIRD, THIRD_HOST, THIRD_PORT = "carol", "bob", 5070
THIRD_ANSWERS = {"refer": "call", "attended": "attended_target"}  # flow -> the flow in which she is called

Leg = dict[str, Any]


def patience(leg: Leg) -> float:
    """Return the seconds that a leg's calls may take at the most, one after another and all failing."""
    return PATIENCE_S + CALL_S * int(leg["count"])


def converse(legs: list[Leg], run: str, anew: Sequence[str] = ()) -> Request:
    """Have the phones do these legs, and return the observer's verdict: {"text", "exit_code", "folder"}.

    The phones named in `anew` register before. Raises OSError when a phone or the observer does not do its part.
    """
    for name in ("alice", "bob", "observer"):
        await_room(name, START_S)
    for name in anew:
        ask(name, {"do": "register"})
    for leg in legs:
        request = {**leg, "run": run}
        if leg.get("flow") in THIRD_ANSWERS:
            _ask_third({"do": "register"})
            _ask_third({"do": "listen", **request, "flow": THIRD_ANSWERS[leg["flow"]], "hangup": "caller"})
        ask(leg["to"], {"do": "listen", **request})
        leg[leg["from"]] = ask(leg["from"], {"do": "place", **request}, patience(leg))
        leg[leg["to"]] = ask(leg["to"], {"do": "finish", **request})
        if leg.get("flow") in THIRD_ANSWERS:
            leg[THIRD] = _ask_third({"do": "finish", **request})
            _ask_third({"do": "leave"})
    return ask("observer", {"run": run, "legs": legs})


def _ask_third(request: Request) -> Request:
    return ask(THIRD_HOST, {**request, "as": THIRD})


def both_ways() -> list[Leg]:
    """Return the legs of the first call: each calls once, and each hangs up once; less would hide faults."""
    return [
        {"from": "alice", "to": "bob", "count": 1, "at_once": False, "hangup": "callee"},
        {"from": "bob", "to": "alice", "count": 1, "at_once": False, "hangup": "callee"},
    ]


def one_way(given: argparse.Namespace) -> Leg:
    """Return the leg that the command line asks for."""
    callee = {"alice": "bob", "bob": "alice"}[given.caller]
    call = {"from": given.caller, "to": callee, "count": given.count}
    return {**call, "at_once": given.at_once, "hangup": given.hangup}


def report(
    legs: list[Leg], run: str, choose: Callable[[str], str], otherwise: int, anew: Sequence[str] = ()
) -> int:
    """Have the legs done, print what is chosen of the verdict, and return its exit code."""
    try:
        verdict = converse(legs, run, anew)
    except OSError as error:
        print(f"phone: no verdict: {error}", file=sys.stderr, flush=True)
        return otherwise
    print(choose(verdict["text"]), flush=True)
    return int(verdict["exit_code"])
