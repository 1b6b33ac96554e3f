"""What the engine keeps of a call: little while retransmissions may come, nothing after."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from pathlib import Path

from proxy.sip.memory import _Memory
from tests.bench.mix import LINGER_S, Mix

ROOT = Path(__file__).parents[3]
CALLS = 200
MOST_BYTES = 1300  # of an answered call: two transactions, their keys and timers, and what leads a late 2xx up


def test_an_answered_call_keeps_little_for_its_retransmissions_and_nothing_when_they_are_over() -> None:
    """In a process of its own: in this one other tests' parsers remember things."""
    script = f"from {__name__} import measure; measure()"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert kept / CALLS < MOST_BYTES
    assert left / CALLS < 20


def measure() -> None:
    """Print how many bytes answered calls keep, and how many are left when their transactions have ended."""
    tracemalloc.start()
    mix = Mix()
    _answered_calls(mix)  # tables that grow are grown
    _pass_by(mix)
    before = _traced()
    _answered_calls(mix)
    kept = _traced() - before
    assert len(mix.engine.transactions) == 2 * CALLS
    _pass_by(mix)
    assert len(mix.engine.transactions) == 0
    print(kept, _traced() - before)


def _answered_calls(mix: Mix) -> None:
    for _ in range(CALLS):
        mix.play("call", 4)


def _pass_by(mix: Mix) -> None:
    mix.now += LINGER_S
    mix.engine.handle_timer(mix.now)


def _traced() -> int:
    """Return bytes in use, without what parsers remember."""
    for one in gc.get_objects():
        if isinstance(one, _Memory):
            one.clear()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
