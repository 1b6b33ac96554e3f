"""`report`: a run, or captures from elsewhere, as a page, pictures, Mermaid, text, a commented pcapng, JSON, JUnit."""

from __future__ import annotations

import argparse
from pathlib import Path

from labkit import evidence, view
from labkit.outcome import Exit, say
from labkit.settings import OUT


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "./lab report [--keys FILE] [RUN | FILE.pcap [FILE.pcap]]"
    parser.add_argument(
        "words", nargs="*", metavar="RUN|FILE.pcap",
        help="a run's name in out/ (without: the newest), or a capture, or two of the two sides of a router",
    )  # fmt: skip
    parser.add_argument("--keys", default="", metavar="FILE", help="secrets that open TLS in captures from elsewhere")


def run(given: argparse.Namespace) -> int:
    """Return 0 when it is written."""
    if view.is_run(given.words):
        folder = view.run_folder(*given.words)
        source, target = view.of_run(folder), folder / "report"
    else:
        source = view.of_captures(given.words, given.keys)
        target = OUT / f"report-{'-'.join(Path(word).stem for word in given.words)}"
    made = view.unpack(view.observe(source, "report"), target)
    evidence.own(target)
    for path in made:
        say(f"{path.stat().st_size:>9,} bytes  {path}")
    print(target / "index.html")
    return Exit.PASS
