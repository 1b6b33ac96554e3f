"""One cell of a grid: routers of some kind, phones that register anew, their calls, and what came of it on the wire."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from labkit import evidence, stack
from labkit.outcome import Exit, LabBroken
from labkit.settings import Settings

CALLED = {"alice": {"bob"}, "bob": {"alice"}, "both": {"alice", "bob"}}  # who calls -> who is to be registered
# The facts that say why something broke, or that nothing did; the others are what came of it.
CAUSES = frozenset((
    "works", "bypasses-proxy", "expired", "never-registered",
    *(f"{what}-{where}" for what in ("answers", "request")
      for where in ("lost-at-router", "to-private", "elsewhere", "unheard")),
    "audio-lost-to-alice", "audio-lost-to-bob",
))  # fmt: skip


@dataclass(slots=True)
class Seen:
    """What came of a cell: codes and sentences of the facts, the ladder, and how long it took."""

    codes: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # the checks that did not pass
    ladder: str = ""
    run: str = ""  # what `evidence.fetch` has its folder by
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
    lab: Settings, routers: Mapping[str, str], caller: str, again: Sequence[str], *, flow: str = "call",
    is_silent: bool = False, has_audio: bool = False,
) -> Seen:  # fmt: skip
    """Change the routers, have who is called through one register, and have `caller` (or both) call.

    `routers`: {home: kind}; `again`: the verb that repeats it. With `is_silent` the call comes when Alice's mapping has
    been forgotten, or has outlived its lifetime by half. `has_audio`: it is judged who hears whom. Raises LabBroken.
    """
    began, run_name = time.monotonic(), f"{time.time_ns():x}"
    before = [word for home, kind in routers.items() for word in ("--router", f"{home}={kind}")]
    # A phone whose router was not changed is registered still.
    behind = {"alice", "bob"} if lab.values["LAB_TOPOLOGY"] == "same-home" else set(routers)
    anew = sorted(CALLED[caller] & behind)
    before += ["--silence", "alice"] if is_silent else ["--register", ",".join(anew)]
    call = ["phone", "call", "--json", "--run", run_name, *before, "--from", caller, "--flow", flow]
    call += ["--audio"] if has_audio else []
    done = subprocess.run(
        stack.inside(lab, "bob", *call), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        check=False,
    )  # fmt: skip
    if done.returncode == Exit.UNSUPPORTED:
        return Seen(unsupported=done.stderr.strip().removeprefix("phone: unsupported: "))
    if not done.stdout:
        kept = evidence.collect(lab, again, evidence.fetch(lab, run_name))
        raise LabBroken(f"the calls could not be judged: {done.stderr.strip()} ({kept})")
    said = json.loads(done.stdout)
    verdict = said["verdict"]
    if done.returncode == Exit.BROKEN:
        wrong = [check["evidence"] for check in verdict["checks"] if check["result"] != "pass"]
        raise LabBroken(f"{', '.join(routers.values())}: {'; '.join(wrong)} ({evidence.fetch(lab, run_name)})")
    facts = verdict["facts"]
    return Seen(
        codes=[fact["code"] for fact in facts],
        sentences=[fact["text"] for fact in facts],
        failed=[check["name"] for check in verdict["checks"] if check["result"] != "pass"],
        ladder=said["ladder"],
        run=run_name,
        seconds=time.monotonic() - began,
    )
