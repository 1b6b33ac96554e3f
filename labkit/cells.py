"""One cell of a grid: routers of some kind, phones that register anew, their calls, and what came of it on the wire."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labkit import evidence, stack
from labkit.outcome import Exit, LabBroken
from labkit.settings import Settings

UNSUPPORTED = 127
REGISTER = "import sys; from observer.control import ask; ask(sys.argv[1], {'do': 'register'})"
# The facts that say why something broke, or that nothing did; the others are what came of it.
CAUSES = frozenset((
    "works", "bypasses-proxy", "expired", "never-registered",
    *(f"{what}-{where}" for what in ("answers", "request") for where in ("lost-at-router", "to-private", "elsewhere")),
))  # fmt: skip


@dataclass(slots=True)
class Seen:
    """What came of a cell: codes and sentences of the facts, the ladder, and how long it took."""

    codes: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # the checks that did not pass
    ladder: str = ""
    folder: Path | None = None
    unsupported: str = ""  # why this kernel cannot do it
    seconds: float = 0.0

    @property
    def causes(self) -> frozenset[str]:
        """The codes that say why."""
        return CAUSES & frozenset(self.codes)

    @property
    def text(self) -> str:
        """The facts as one sentence."""
        if self.unsupported:
            return f"unsupported: {self.unsupported}"
        said = "; ".join(self.sentences)
        return f"{said[:1].upper()}{said[1:]}." if said else ""


def run(
    lab: Settings, routers: Mapping[str, str], calls: Sequence[str], again: Sequence[str], *, is_silent: bool = False
) -> Seen:
    """Change the routers, have the phones register, and have them call. Raises LabBroken.

    `routers`: {home: kind}; `calls`: what `phone call` is told; `again`: the verb that repeats it. With `is_silent` the
    call comes when Alice's mapping has been forgotten, or has outlived twice its lifetime.
    """
    began = time.monotonic()
    for home, kind in routers.items():
        done = _exec(lab, lab.routers[home], "natctl", "set", kind)
        if done.returncode == UNSUPPORTED:
            return Seen(unsupported=done.stderr.strip().removeprefix("natctl: unsupported: "))
        _demand(done)
        _demand(_exec(lab, f"{home}-home", "remeasure"))
    for phone in ("alice", "bob"):
        _exec(lab, "bob", "python3", "-c", REGISTER, phone)  # without a remedy it may not be answered
    if is_silent:
        _demand(_exec(lab, "nat", "natctl", "outlive", f"{lab.values['ALICE_IP']}:5060"))
    code, folder = _call(lab, calls, again)
    verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    if code == Exit.BROKEN:
        wrong = [check["evidence"] for check in verdict["checks"] if check["result"] != "pass"]
        raise LabBroken(f"{', '.join(routers.values())}: {'; '.join(wrong)} ({folder})")
    facts = verdict["facts"]
    return Seen(
        codes=[fact["code"] for fact in facts],
        sentences=[fact["text"] for fact in facts],
        failed=[check["name"] for check in verdict["checks"] if check["result"] != "pass"],
        ladder=(folder / "ladder.txt").read_text(encoding="utf-8"),
        folder=folder,
        seconds=time.monotonic() - began,
    )


def _call(lab: Settings, calls: Sequence[str], again: Sequence[str]) -> tuple[int, Path]:
    """Have the phones call; return the verdict's exit code and the run's folder. Raises LabBroken."""
    run_name = f"{time.time_ns():x}"
    done = _exec(lab, "bob", "phone", "call", "--run", run_name, *calls)
    folder = evidence.fetch(lab, run_name)
    if folder is None or not (folder / "verdict.json").exists():
        kept = evidence.collect(lab, again, folder)
        raise LabBroken(f"the calls could not be judged: {done.stderr.strip()} ({kept})")
    return done.returncode, folder


def _demand(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode != 0:
        raise LabBroken(f"{' '.join(map(str, done.args[-3:]))}: {(done.stderr or done.stdout).strip()}")


def _exec(lab: Settings, service: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        stack.compose(lab, "exec", "-T", service, *command), env=lab.environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
