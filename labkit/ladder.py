"""`ladder`: the ladder in the terminal: of the newest run, of a lab that runs, or of captures from elsewhere."""

from __future__ import annotations

import argparse
import os
import shutil
import sys

from labkit import engine, settings, stack, view
from labkit.outcome import Exit, Mistake


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "./lab ladder [--follow] [--keys FILE] [RUN | FILE.pcap [FILE.pcap]]"
    parser.add_argument(
        "words", nargs="*", metavar="RUN|FILE.pcap",
        help="a run's name in out/ (without: the newest), or a capture, or two of the two sides of a router: what it "
        "changed in each message",
    )  # fmt: skip
    parser.add_argument("--follow", action="store_true", help="of the lab that runs, as it happens, until Ctrl-C")
    parser.add_argument("--keys", default="", metavar="FILE", help="secrets that open TLS in captures from elsewhere")


def run(given: argparse.Namespace) -> int:
    """Return 0 when it is drawn."""
    is_terminal = sys.stdout.isatty()
    colour = ["colour"] if is_terminal and not os.environ.get("NO_COLOR") else []
    columns = str(shutil.get_terminal_size((120, 24)).columns)
    if given.follow:
        if given.words:
            raise Mistake("--follow: draws the lab that runs, not a file")
        lab = settings.load()
        if not engine.is_running() or stack.running(lab).get("observer") != "running":
            raise Mistake("no lab is up: `./lab up` starts one")
        try:
            return stack.ask(lab, "observer", ["python3", "-m", "observer", "follow", columns, *colour])
        except KeyboardInterrupt:
            return Exit.PASS
    source = view.of_run(view.run_folder(*given.words)) if view.is_run(given.words) else view.of_captures(
        given.words, given.keys
    )
    sys.stdout.buffer.write(view.observe(source, "ladder", columns, *colour))
    sys.stdout.flush()
    return Exit.PASS
