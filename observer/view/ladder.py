"""`ladder COLUMNS [colour]`: the ladder of a run, or of captures from elsewhere, for a terminal. Tar in, text out."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from observer.view import foreign, report, terminal


def main(arguments: Sequence[str]) -> int:
    """Read a tar of a run's folder, or of captures, from standard input; print the ladder."""
    columns, *more = arguments
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sys.stdin.buffer.readline()
        report.unpack(sys.stdin.buffer.read(), folder)
        try:
            view = report.read(folder)
        except foreign.NoCapture as error:
            print(error, file=sys.stderr)
            return report.USAGE
        for line in terminal.draw(view, "colour" in more, int(columns)):
            print(line)
    return 0
