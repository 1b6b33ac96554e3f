"""What phones are asked for, leg by leg, and the verdict: the same for a SIPp and for any other phone.

A leg is {"from", "to", "count", "at_once", "hangup": "caller" or "callee", "flow", "audio"}: one phone calls another,
or does with it what the scenarios of another flow than "call" tell. With an "event" that happens to the router of
Alice's home when the call is up, before the caller says anything more. With "audio" each plays its recording for so
many seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from observer.control import PATIENCE_S, Request, ask, await_room, turn
from sipp_scenarios import routers

START_S = 30.0  # for everybody who is needed for a call to be there
CALL_S = 16.0  # longer than a call that fails at any of its waits
# Whom a transfer leads to: a third phone, which Bob's program is too while such a flow runs, on a port of its own.
THIRD, THIRD_HOST, THIRD_PORT = "carol", "bob", 5070
THIRD_ANSWERS = {"refer": "call", "attended": "attended_target"}  # flow -> the flow in which she is called

Leg = dict[str, Any]


def patience(leg: Leg) -> float:
    """Return the seconds that a leg's calls may take at the most, one after another and all failing."""
    return PATIENCE_S + (CALL_S + float(leg.get("audio", 0.0))) * int(leg["count"])


@dataclass(slots=True, frozen=True)
class Before:
    """What happens before the calls, in this order."""

    routers: Mapping[str, str] = field(default_factory=dict)  # home -> the kind that its router becomes
    register: Sequence[str] = ()  # the phones that register anew
    silence: str = ""  # the phone that registers from a new port, and is silent for as long as its router remembers it


def converse(legs: list[Leg], run: str, before: Before = Before(), asker: int | None = None) -> Request:
    """Have the phones do these legs, and return what the observer says: {"text", "exit_code", "verdict", "ladder"}.

    `asker` is a file descriptor that is at its end when nobody wants to know any more: then calls that are up end, no
    others begin, and what there was is judged: else the next run would find it in its captures. Of two who ask at the
    same time the later one waits.

    Raises OSError when somebody does not do his part, and routers.Refused for a kind that a router cannot be of.
    """
    ends = ("tap-alice", "tap-bob") if any(leg.get("audio") for leg in legs) else ()
    for name in ("alice", "bob", "observer", *ends):
        await_room(name, START_S)
    has_gone = threading.Event()
    if asker is not None:
        threading.Thread(target=_watch, args=(asker, has_gone, legs, run), daemon=True).start()
    with turn("calls"):
        return _converse(legs, run, before, has_gone)


def _watch(asker: int, has_gone: threading.Event, legs: list[Leg], run: str) -> None:
    """Have all callers hang up when the asker has gone."""
    while os.read(asker, 4096):
        pass
    has_gone.set()
    for name in {leg["from"] for leg in legs}:
        with contextlib.suppress(OSError):  # a phone that cannot hang up calls on to its end
            ask(name, {"do": "hang-up", "run": run})


def _converse(legs: list[Leg], run: str, before: Before, has_gone: threading.Event) -> Request:
    if has_gone.is_set():
        raise ConnectionAbortedError("who asked has gone")
    first_asked = time.time()
    with ThreadPoolExecutor() as pool:  # every router by itself
        list(pool.map(_become, before.routers, before.routers.values()))
    since = time.time() if before.routers else 0.0
    for name in before.register:
        ask(name, {"do": "register"})
    if before.silence:
        # From a new port: the proxy repeats for 32 s what it could not deliver at the last one, and the router may keep
        # ports, and would hear that as this phone's.
        began = time.time()
        registered = ask(before.silence, {"do": "register", "elsewhere": True})
        routers.await_silence(before.silence, registered["port"], began)
    begun = []
    for leg in legs:
        if has_gone.is_set():
            break
        begun.append(leg)
        request = {**leg, "run": run}
        if leg.get("flow") in THIRD_ANSWERS:
            _ask_third({"do": "register"})
            _ask_third({"do": "listen", **request, "flow": THIRD_ANSWERS[leg["flow"]], "hangup": "caller"})
        ask(leg["to"], {"do": "listen", **request})
        try:
            leg[leg["from"]] = ask(leg["from"], {"do": "place", **request}, patience(leg))
        finally:  # whatever becomes of the caller, the other one can be called again
            leg[leg["to"]] = ask(leg["to"], {"do": "finish", **request})
        if leg.get("flow") in THIRD_ANSWERS:
            leg[THIRD] = _ask_third({"do": "finish", **request})
            _ask_third({"do": "leave"})
    return ask("observer", {"run": run, "legs": begun, "began": since or first_asked, "since": since})


def _become(home: str, kind: str) -> None:
    for name in routers.behind(home):  # what was registered through a router that is none any more leads nowhere
        ask(name, {"do": "leave"})
    routers.become(home, kind)


def _ask_third(request: Request) -> Request:
    return ask(THIRD_HOST, {**request, "as": THIRD})


def both_ways(audio: float = 0.0) -> list[Leg]:
    """Return the legs of the first call: each calls once, and each hangs up once; less would hide faults."""
    return [
        {"from": "alice", "to": "bob", "count": 1, "at_once": False, "hangup": "callee", "audio": audio},
        {"from": "bob", "to": "alice", "count": 1, "at_once": False, "hangup": "callee", "audio": audio},
    ]


def one_way(given: argparse.Namespace) -> Leg:
    """Return the leg that the command line asks for."""
    callee = {"alice": "bob", "bob": "alice"}[given.caller]
    call = {"from": given.caller, "to": callee, "count": given.count}
    return {**call, "at_once": given.at_once, "hangup": given.hangup, "audio": given.audio}


def report(
    legs: list[Leg], run: str, choose: Callable[[Request], str], otherwise: int, before: Before = Before(),
    asker: int | None = None,
) -> int:  # fmt: skip
    """Have the legs done, print what is chosen of the verdict, and return its exit code, or natctl's."""
    try:
        verdict = converse(legs, run, before, asker)
    except routers.Refused as refused:
        print(f"phone: {refused}", file=sys.stderr, flush=True)
        return refused.code
    except OSError as error:
        print(f"phone: no verdict: {error}", file=sys.stderr, flush=True)
        return otherwise
    print(choose(verdict), flush=True)
    return int(verdict["exit_code"])
