"""`experiments`: every remedy taken away behind every kind of NAT, and eight kinds against one another: two pages."""

from __future__ import annotations

import argparse
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from labkit import evidence, experiment, grid, homes, subnets
from labkit.cells import Seen
from labkit.expectations import ALL_ON, EXPECTATIONS, Expectation, in_words
from labkit.grid import SIGNS, Grid
from labkit.outcome import Exit, Mistake, say
from labkit.settings import Settings
from nat import kinds

LEGEND = {
    "works": "the calls work all the same",
    "breaks": "the calls break, as they should: how, stands below",
    "differs": "something else happened than what should",
    "broken": grid.BROKEN,
    "unsupported": "unsupported by this kernel",
}
def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--remedies", default="", metavar="NAME,...", help=f"only these, of: {', '.join(EXPECTATIONS)}")
    parser.add_argument("--nats", default="", metavar="KIND,...", help="only these kinds")
    parser.add_argument(
        "--homes", action="store_true", help="instead: eight kinds against one another, with Alice and Bob at home"
    )


def run(given: argparse.Namespace) -> int:
    """Return 0 when everything happened as it should, 1 when something did not, 3 when the lab broke in a cell.

    127 when this kernel can do none of it.
    """
    if given.homes and given.remedies:
        raise Mistake("--homes --remedies: between two homes no remedy is taken away; give one of the two")
    if given.homes:
        found = homes.grid_of(choose("--nats", given.nats, list(homes.KINDS)))
    else:
        remedies = choose("--remedies", given.remedies, list(EXPECTATIONS))
        found = grid_of(remedies, choose("--nats", given.nats, list(kinds.PRESETS)))
    page = grid.write(found, "homes" if given.homes else "experiments")
    cells = found["cells"]
    differs, broken, unsupported = (grid.of(result, cells) for result in ("differs", "broken", "unsupported"))
    for cell in (*differs, *broken):
        say(f"{cell['row']} × {cell['column']}: {cell['text']}")
    others = f", {len(broken)} in which the lab broke" if broken else ""
    others += f", {len(unsupported)} unsupported by this kernel" if unsupported else ""
    say(f"{len(cells)} cells, {len(differs)} otherwise than they should be{others}; the page is {page}")
    if differs or broken:
        return Exit.FAIL if differs else Exit.BROKEN
    return Exit.UNSUPPORTED if len(unsupported) == len(cells) else Exit.PASS


def choose(option: str, given: str, known: list[str]) -> list[str]:
    """Return the names that were given, all that are known without any. Raises Mistake."""
    chosen = list(dict.fromkeys(given.replace(",", " ").split()))
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise Mistake(f"{option} {unknown[0]}: unknown; {kinds.nearest(unknown[0], known)}")
    return chosen or known


def grid_of(remedies: list[str], columns: list[str]) -> Grid:
    """Do the experiments, a proxy for each remedy, and return the grid. Raises LabBroken.

    In two labs side by side, where this machine has room for two: most of the time somebody waits for an answer.
    """
    began = time.monotonic()
    second = subnets.beside(experiment.suitable()) if len(remedies) > 1 else None
    shares = [({}, remedies[::2]), (second, remedies[1::2])] if second else [({}, remedies)]
    stopped = threading.Event()

    def rows(lab: Settings, share: list[str]) -> list[grid.Cell]:
        done = []
        for remedy in share:
            experiment.take_away(lab, EXPECTATIONS[remedy])
            done += [_cell(lab, EXPECTATIONS[remedy], kind) for kind in columns if not stopped.is_set()]
        return done

    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:
        labs = [stack.enter_context(experiment.standing(EXPECTATIONS[share[0]], place)) for place, share in shares]
        try:
            cells = [cell for done in pool.map(rows, labs, [share for _, share in shares]) for cell in done]
        finally:
            stopped.set()  # a Ctrl-C waits for two cells, and not for all
    return {
        "title": "What each remedy is for",
        "intro": [
            "Each thing that the proxy does against NATs was taken away in turn, behind every kind of NAT, with phones "
            "that obey the headers. What is written here was seen on the wire.",
            *(f"Without {remedy}: {EXPECTATIONS[remedy].off}." for remedy in remedies if remedy != ALL_ON),
            *_silences(remedies),
            f"{len(cells)} runs in {time.monotonic() - began:.0f} s, by `./lab experiments`.",
        ],
        "legend": [[SIGNS[result], words] for result, words in LEGEND.items()],
        "ladders": True, "corner": "without", "rows": remedies, "columns": columns, "cells": cells,
    }  # fmt: skip


def _silences(remedies: list[str]) -> list[str]:
    """Return what is otherwise in the experiments in which a phone is silent before it is called."""
    silent = {name: EXPECTATIONS[name].silence for name in remedies if EXPECTATIONS[name].silence}
    return [
        f"In {' and '.join(silent)} Alice's router forgets after {max(silent.values())} s of silence, whatever its "
        f"kind, the proxy's keep-alive comes every {experiment.KEEPALIVE_S} s where it is on, and her phone says "
        "nothing of its own accord until it would have been forgotten. Then Bob calls."
    ] if silent else []  # fmt: skip


def _cell(lab: Settings, expected: Expectation, kind: str) -> grid.Cell:
    should, again = expected.causes(kind), ["experiment", expected.remedy, "--nat", kind]

    def judge(seen: Seen) -> tuple[str, str, str]:
        if not experiment.is_as_expected(expected, kind, seen):
            kept = evidence.collect(lab, again, evidence.fetch(lab, seen.run))
            failed = f" Failed: {', '.join(seen.failed)}." if seen.failed and seen.causes == should else ""
            should_be = f"It should have been: {in_words(should)}."
            return "differs", in_words(seen.causes), f"{seen.text}{failed} {should_be} ({kept})"
        return result(seen.causes), in_words(seen.causes), seen.text

    return grid.cell(expected.remedy, kind, lambda: experiment.try_one(lab, expected, kind, again), judge)


def result(causes: frozenset[str]) -> str:
    """Return which of LEGEND it is when these causes were to be seen: a call that one does not hear does not work."""
    is_heard = not any(cause.startswith("audio-") for cause in causes)
    return "works" if "works" in causes and is_heard else "breaks"
