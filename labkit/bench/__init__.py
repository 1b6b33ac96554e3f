"""`bench`: the proxy measured beside Kamailio and Sippy, in one run: CPU, highest rates, latency, memory."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from labkit import engine, evidence, images, settings
from labkit.bench import containers, full, instructions, page, peers, plan, report
from labkit.bench.work import WORKS
from labkit.experiments import choose
from labkit.outcome import Exit, Mistake, say
from labkit.settings import OUT

ROUNDS, SECONDS, QUICK_SECONDS = 5, 10, 8
BINDINGS, CALLS_UP = 100_000, 10_000  # of call-loaded


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--quick", action="store_true", help="one kind of work (`call`), at one rate: 3 minutes")
    parser.add_argument("--check", action="store_true", help="instead: instructions a message, against those kept")
    parser.add_argument("--accept", action="store_true", help="with --check: keep the new numbers")
    parser.add_argument("--work", default="", metavar="NAME,...", help=f"only these, of: {', '.join(WORKS)}")
    parser.add_argument("--against", default="", metavar="IMAGE", help="beside them another image of the proxy")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"rounds (default {ROUNDS})")
    parser.add_argument("--seconds", type=int, default=0, metavar="N", help=f"of a round (default {SECONDS})")
    parser.add_argument("--rate", type=int, default=0, metavar="N", help="units a second in the rounds, of all systems")
    for option, default in (("--bindings", BINDINGS), ("--calls", CALLS_UP)):
        parser.add_argument(option, type=int, default=default, metavar="N", help=f"of call-loaded (default {default})")


def run(given: argparse.Namespace) -> int:
    """Return 0 when everything was measured; for --check 1 when a message costs more than is kept."""
    if given.accept and not given.check:
        raise Mistake("--accept: goes with --check")
    if given.check and (given.quick or given.work or given.against):
        raise Mistake("--check: counts instructions of a fixed mix; it goes with --accept and nothing else")
    if min(given.rounds, given.bindings, given.calls) < 1 or min(given.seconds, given.rate) < 0:
        raise Mistake("--rounds, --seconds, --rate, --bindings, --calls: give numbers above 0")
    works = choose("--work", given.work, list(WORKS)) if given.work or not given.quick else ["call"]
    if given.quick and len(works) > 1:
        raise Mistake("--quick --work: the quick one is of one kind of work; name one")
    engine.ensure()
    lab = settings.load()
    images.ensure(lab)
    found = peers.ensure(lab)
    if given.check:
        return instructions.check(found, accept=given.accept)
    if given.against and not images.is_here(given.against):
        raise Mistake(f"--against {given.against}: no such image here; `docker images sip-nat-lab/proxy` lists them")
    containers.need_two_processors()
    wanted = plan.Plan(
        project=lab.project, images=replace(found, other=given.against), works=works, rounds=given.rounds,
        seconds=given.seconds or (QUICK_SECONDS if given.quick else SECONDS), rate=given.rate, is_quick=given.quick,
        bindings=given.bindings, calls_up=given.calls,
    )  # fmt: skip
    began = time.monotonic()
    with containers.removed_afterwards(lab.project):
        result = full.measure(wanted, _write_data)  # an hour's work: whatever ends it, what was measured is there
    result["run"]["seconds"] = round(time.monotonic() - began)
    print(report.text(result))
    data = _write_data(result)
    if not given.quick:
        for name, drawn in page.plots(result, found.peers).items():
            _write(name, drawn)
        _write("performance.md", page.markdown(result))
    say(f"measured in {result['run']['seconds']} s; the figures are in {data}")
    return Exit.PASS


def _write_data(result: dict[str, Any]) -> Path:
    return _write("bench.json", json.dumps(result, indent=1, ensure_ascii=False))


def _write(name: str, text: str) -> Path:
    OUT.mkdir(exist_ok=True)
    path = OUT / name
    path.write_text(text, encoding="utf-8")
    evidence.own(path)
    return path
