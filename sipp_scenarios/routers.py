"""What is done to the routers before phones call, and in mid-call: they change, and forget whom they do not hear."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from observer.control import ask

ROUTERS = {"alice": "nat", "bob": "nat-bob"}
MAPPING_S = 5.0  # in which a phone that has registered has a mapping


class Refused(Exception):
    """The router cannot do this: one line, and natctl's exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def behind(home: str) -> Sequence[str]:
    """Return the phones behind a home's router."""
    return ("alice", "bob") if os.environ.get("LAB_TOPOLOGY") == "same-home" else (home,)


def become(home: str, kind: str) -> None:
    """Have a home's router be of another kind, and the home's probe measure all of it that takes no time to measure.

    Raises Refused and OSError.
    """
    reply = ask(ROUTERS[home], {"do": "set", "kind": kind})
    if "refused" in reply:
        raise Refused(reply["refused"], reply["exit"])
    for name in behind(home):
        ask(f"{name}-home", {"do": "measure", "quick": True})  # the judge reads what it writes


def suffer(home: str, event: str) -> None:
    """Have something happen to a home's router: one of parts.EVENTS. Raises Refused and OSError."""
    reply = ask(ROUTERS[home], {"do": event})
    if "refused" in reply:
        raise Refused(reply["refused"], reply["exit"])


def await_silence(home: str, port: int, since: float) -> None:
    """Return when the router has forgotten the mapping of the phone's port, or has kept it for 1.5 times its lifetime.

    `since` (Unix seconds): it was not made before.

    Raises TimeoutError when neither comes, which is when the phone has no mapping or does not keep silent.
    """
    lifetime = ask(ROUTERS[home], {"do": "profile"})["profile"]["lifetime"]
    if not lifetime:
        return  # this one remembers nothing
    phone = [os.environ[f"{home.upper()}_IP"], port]
    deadline = time.monotonic() + 3 * lifetime + MAPPING_S
    while time.monotonic() < deadline:
        events = ask(ROUTERS[home], {"do": "history", "since": since})["events"]
        own = [event for event in events if event.get("private") == phone]
        if own and (own[-1]["event"] == "mapping-ended" or time.time() - own[-1]["time"] > 1.5 * lifetime):
            return
        time.sleep(0.05)  # pacing of a poll, with a deadline
    raise TimeoutError(f"{home}'s router has no mapping of the phone to forget")
