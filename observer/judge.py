"""The observer's service: asked by the phones when their calls have ended, it cuts the taps, decodes, judges, prints.

A run's folder is written to the shared volume: captures, story.json, ladder.txt, verdict.json, and SIPp's files.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from observer import checks, connections, ladder, story
from observer.control import ROOM, Request, ask, serve, until_stopped
from observer.decode import KEYS, decode
from observer.topology import Topology, from_environment

TAP_SERVICES = ("tap-nat", "tap-proxy", "tap-core")
PROXY_KEYS = Path("/keys/proxy.keys")  # it is there when the proxy speaks TLS
KEPT_RUNS = 20  # older folders in the volume are removed
MOST_CALLS_DRAWN = 4
EXIT_CODES = {"pass": 0, "fail": 1, "lab-broken": 3}
SIGNS = {"pass": "✓", "fail": "✗", "not-seen": "?"}


def judge(request: Request, topology: Topology, without: str, contacts: set[str]) -> Request:
    """Judge one run: {"run", "legs"} in; {"text", "exit_code", "folder"} out. Adds Alice's to the Contacts known."""
    folder = ROOM / "out" / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{request['run']}"
    folder.mkdir(parents=True)
    drops: dict[str, int] = {}
    for name in TAP_SERVICES:
        drops |= ask(name, {"folder": str(folder)})["drops"]
    began = 0.0
    if PROXY_KEYS.exists():
        shutil.copy(PROXY_KEYS, folder / KEYS)
        began = connections.prepend(folder, ROOM / "captures" / "before")
    sightings = [seen for seen in decode(folder) if seen.time >= began]
    journeys = story.tell(sightings, topology)
    probe = ROOM / "probe.json"
    case = checks.Case(
        topology, journeys, sightings, request["legs"], json.loads(probe.read_text()) if probe.exists() else {},
        frozenset(contacts),
    )  # fmt: skip
    contacts |= checks.contacts_of_alice(journeys, topology)
    verdict = checks.judge(case)
    verdict |= {"run": folder.name, "legs": request["legs"], "without": without.replace(",", " ").split()}
    if any(drops.values()):
        verdict["verdict"] = "lab-broken"
        verdict["checks"].append(
            {"name": "captures-whole", "result": "fail", "evidence": f"packets lost at the taps: {drops}"}
        )
    drawing = ladder.draw(_worth_drawing(journeys), topology)
    (folder / "story.json").write_text(json.dumps({"run": folder.name, "messages": story.as_json(journeys)}, indent=1))
    (folder / "ladder.txt").write_text(drawing)
    (folder / "verdict.json").write_text(json.dumps(verdict, indent=1))
    _collect_phone_files(request["run"], folder)
    _forget_old_runs()
    text = f"{drawing}\n{words(verdict)}"
    print(text, flush=True)
    return {"text": text, "exit_code": EXIT_CODES[verdict["verdict"]], "folder": folder.name}


def words(verdict: dict[str, Any]) -> str:
    """Return the verdict as the user reads it: a line per check, and a last one that says it all."""
    width = max(len(check["name"]) for check in verdict["checks"])
    lines = [f"  {SIGNS[check['result']]} {check['name']:<{width}}  {check['evidence']}" for check in verdict["checks"]]
    calls = ", ".join(
        f"{leg['from']} → {leg['to']}{' × %d' % leg['count'] if leg['count'] > 1 else ''}" for leg in verdict["legs"]
    )
    off = f" (without {', '.join(verdict['without'])})" if verdict["without"] else ""
    wrong = [check["name"] for check in verdict["checks"] if check["result"] != "pass"]
    last = f"verdict: {verdict['verdict'].upper()}  {calls}{off}{': ' if wrong else ''}{', '.join(wrong)}"
    return "\n".join([*lines, "", last])


def _worth_drawing(journeys: list[story.Journey]) -> list[story.Journey]:
    """Registrations, and the first few calls: fifty ladders on one page help nobody. story.json has them all."""
    calls = list(dict.fromkeys(journey.first.call_id for journey in journeys if journey.first.method == "INVITE"))
    drawn = set(calls[:MOST_CALLS_DRAWN])
    return [journey for journey in journeys if journey.first.call_id in drawn or journey.first.call_id not in calls]


def _collect_phone_files(run: str, folder: Path) -> None:
    """Put SIPp's statistics and errors beside the captures."""
    source = ROOM / "runs" / run
    if source.is_dir():
        shutil.copytree(source, folder / "sipp")


def _forget_old_runs() -> None:
    for old in sorted((ROOM / "out").iterdir())[:-KEPT_RUNS]:
        shutil.rmtree(old)
        shutil.rmtree(ROOM / "runs" / old.name.rpartition("-")[2], ignore_errors=True)


def main(_: Sequence[str]) -> int:
    """Serve on observer.sock until SIGTERM."""
    topology = from_environment(os.environ)
    without = os.environ.get("WITHOUT", "")
    contacts: set[str] = set()
    threading.Thread(
        target=serve, args=("observer", lambda request: judge(request, topology, without, contacts)), daemon=True
    ).start()
    until_stopped()
    return 0


