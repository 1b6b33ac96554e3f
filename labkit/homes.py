"""Alice and Bob each behind a router of their own: every kind that treats packets differently against every other."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from labkit import cells, evidence, grid, settings, stack
from labkit.cells import Seen
from labkit.grid import SIGNS, Grid
from labkit.outcome import LabBroken
from labkit.settings import Settings
from labkit.up import prepare

# The kinds that differ in how they treat a phone's packets, and those that connections are tried with too.
KINDS = (
    "home", "port-preserving", "full-cone", "address-restricted", "symmetric", "address-dependent", "cgnat",
    "one-to-one",
)  # fmt: skip
CONNECTED = ("home", "symmetric", "cgnat")
FLOW = "reinvite"  # each sends an INVITE within each call
LEGEND = {
    "works": "registered, called each way, changed and ended by both",
    "differs": "something failed",
    "broken": grid.BROKEN,
    "unsupported": "unsupported by this kernel",
}


def grid_of(kinds: Sequence[str]) -> Grid:
    """Try all pairs by UDP, and some by TCP and TLS; return the grid. Raises LabBroken."""
    began, found = time.monotonic(), []
    for transport in settings.TRANSPORTS:
        chosen = [kind for kind in kinds if transport == "udp" or kind in CONNECTED]
        if chosen:
            with standing(transport) as lab:
                found += [_cell(lab, transport, *pair) for pair in itertools.product(chosen, repeat=2)]
    return {
        "title": "Two homes: eight NATs against one another",
        "intro": [
            "Alice's router is written at the left, Bob's at the top. In every cell both register, each calls the "
            "other once, sends an INVITE within the call, and hangs up. What is written here was seen on the wire.",
            f"{len(found)} runs in {time.monotonic() - began:.0f} s, by `./lab experiments --homes`.",
        ],
        "legend": [[SIGNS[result], words] for result, words in LEGEND.items()],
        "ladders": False,  # they would be two megabytes
        "corner": "Alice \\ Bob", "rows": list(dict.fromkeys(cell["row"] for cell in found)), "columns": list(kinds),
        "cells": found,
    }  # fmt: skip


@contextmanager
def standing(transport: str) -> Iterator[Settings]:
    """A lab with two homes whose phones speak this transport, removed afterwards. Raises Mistake and LabBroken."""
    lab = settings.load(transport=transport, bob_transport=transport, topology="two-homes")
    prepare(lab)
    stack.remove(lab)
    try:
        stack.start(lab)
        yield lab
    except LabBroken:
        evidence.bury(lab, ["experiments", "--homes"])
        raise
    finally:
        stack.remove(lab)


def _cell(lab: Settings, transport: str, alice: str, bob: str) -> grid.Cell:
    def judge(seen: Seen) -> tuple[str, str, str]:
        if not seen.failed:
            return "works", ", ".join(seen.codes), seen.text
        kept = evidence.collect(lab, again, evidence.fetch(lab, seen.run))
        return "differs", ", ".join(seen.codes), f"{seen.text} Failed: {', '.join(seen.failed)} ({kept})."

    again = ["experiments", "--homes", "--nats", ",".join(dict.fromkeys((alice, bob)))]
    routers = {"alice": alice, "bob": bob}
    return grid.cell(
        f"{alice}, {transport}", bob, lambda: cells.run(lab, routers, "both", again, flow=FLOW), judge
    )  # fmt: skip
