"""Instructions a message, counted by valgrind: a guard that does not depend on the machine's mood.

The numbers that are kept are those of one kind of processor: a message that costs more than that by more than TOLERANCE
is a failure. They depend on Python's version too, and say which one they are of.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from typing import Any

from labkit import evidence, progress
from labkit.bench.containers import HARDENED, SCENARIOS, docker
from labkit.bench.systems import Images
from labkit.outcome import Exit, LabBroken, Mistake, say
from labkit.settings import ROOT

KEPT = SCENARIOS / "instructions.json"
TOLERANCE = 0.05


def check(images: Images, *, accept: bool) -> int:
    """Count, and return 0 when no message costs more than is kept, 1 when one does; `accept` keeps what was counted.

    Raises Mistake where nothing is kept for this processor, LabBroken where valgrind does not run.
    """
    machine = platform.machine()
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    if machine not in kept and not accept:
        raise Mistake(f"bench --check: no numbers are kept for {machine}: `./lab bench --check --accept` keeps them")
    say("counting instructions (about two minutes)")
    counted = count(images.peers)
    before = kept.get(machine, {"python": "", "instructions": {}})
    print(table(before["instructions"], counted["instructions"]))
    if before["python"] and before["python"] != counted["python"]:
        say(f"what is kept was counted with Python {before['python']}, this is {counted['python']}")
    if accept:
        KEPT.write_text(json.dumps({**kept, machine: counted}, indent=1) + "\n", encoding="utf-8")
        evidence.own(KEPT)
        say(f"kept in {KEPT.relative_to(ROOT)}")
        return Exit.PASS
    found = worse(before["instructions"], counted["instructions"])
    for line in found:
        say(line)
    return Exit.FAIL if found else Exit.PASS


def count(image: str) -> dict[str, Any]:
    """Return {"python": its version, "instructions": {message: instructions}}. Raises LabBroken."""
    done = docker(
        "run", "--rm", "--network", "none", *HARDENED, "--env", "PYTHONPATH=/srv",
        "--volume", f"{ROOT / 'proxy'}:/srv/proxy:ro", "--volume", f"{SCENARIOS}:/bench:ro",
        image, "python3", "/bench/mix.py", "--count",
    )  # fmt: skip
    if done.returncode != 0:
        raise LabBroken(f"the instructions could not be counted: {progress.last_lines(done.stderr)}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def worse(kept: Mapping[str, int], counted: Mapping[str, int]) -> list[str]:
    """Return a line for each message that costs more by more than TOLERANCE, or is only kept or only counted."""
    lines = []
    for name, now in counted.items():
        if name not in kept:
            lines.append(f"{name}: {now} instructions, and none are kept: --accept keeps them")
        elif now > kept[name] * (1 + TOLERANCE):
            lines.append(f"{name}: {_change(kept[name], now)}, from {kept[name]} to {now} instructions")
    return lines + [f"{name}: is kept, and was not counted" for name in kept if name not in counted]


def table(kept: Mapping[str, int], counted: Mapping[str, int]) -> str:
    """Return what was counted beside what is kept."""
    rows = [f"{'message':<24}{'instructions':>14}{'kept':>14}"]
    for name, now in counted.items():
        before = kept.get(name)
        rows.append(f"{name:<24}{now:>14}{before or '–':>14}{f'  {_change(before, now)}' if before else ''}")
    whole, were = sum(counted.values()), sum(kept.get(name, 0) for name in counted)
    rows.append(f"{'all':<24}{whole:>14}{were or '–':>14}{f'  {_change(were, whole)}' if were else ''}")
    return "\n".join(rows)


def _change(before: int, now: int) -> str:
    return f"{100 * (now - before) / before:+.1f} %"
