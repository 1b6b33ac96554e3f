"""`follow COLUMNS [colour]`: the ladder of a lab that runs, in the terminal, until whoever asked has gone."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence

from observer.topology import from_environment
from observer.view import terminal
from observer.view.lanes import Places
from observer.view.live import Live

STEP_S = 0.1
WHOLE_S = 0.3  # after which a message has passed the router, and its row is drawn


def main(arguments: Sequence[str]) -> int:
    """Draw what happens from now on."""
    columns, *more = arguments
    if "STDIN_HELD" in os.environ:
        threading.Thread(target=_until_left_alone, daemon=True).start()
    topology = from_environment(os.environ)
    live = Live(topology, has_sound=False)
    began = time.time()
    pen = terminal.Pen(Places(topology).lanes(()), began, "colour" in more, int(columns))
    print("\n".join(pen.head()), flush=True)
    drawn: set[str] = set()
    try:
        while True:
            live.step()
            view = live.whole()
            fresh = [
                {**call, "arrows": [each for each in call["arrows"] if began <= each["time"] < time.time() - WHOLE_S]}
                for call in view["calls"]
                if call["start"] + call["duration"] >= began - 60
            ]
            for line in terminal.follow({**view, "events": []}, fresh, drawn, pen):  # type: ignore[arg-type]
                print(line, flush=True)
            time.sleep(STEP_S)  # pacing of a poll
    except (BrokenPipeError, KeyboardInterrupt):
        return 0
    finally:
        live.end()


def _until_left_alone() -> None:
    sys.stdin.read()
    os._exit(0)
