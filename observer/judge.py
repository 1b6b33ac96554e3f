"""The observer's service: asked by the phones when their calls have ended, it cuts the taps, decodes, judges, prints.

A run's folder is written to the shared volume: captures, story.json, ladder.txt, verdict.json, and SIPp's files.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from observer import audio, checks, connections, consequence, ladder, newest, story, unheard
from observer.case import Case, contacts_of_phones
from observer.control import ROOM, Request, ask, serve, until_stopped
from observer.decode import KEYS, Sighting, captures, decode
from observer.history import History
from observer.topology import Topology, from_environment
from observer.view import run

PROXY_KEYS = Path("/keys/proxy.keys")  # it is there when the proxy speaks TLS
KEPT_RUNS = 20  # older folders in the volume are removed
MOST_CALLS_DRAWN = 4
REMEMBERED_CALLS = 1000  # of those, none older than 32 s is repeated by anybody
ROUTER_S = 5.0  # a router has nothing to work on to say what it did
HELD_S = 10.0  # the longest that a router holds a packet back (nat/impair.py)
ROUNDS = 3  # in which routers are asked to let go: from Alice's to Bob's, and what answers it
EXIT_CODES = {"pass": 0, "fail": 1, "lab-broken": 3}
SIGNS = {"pass": "✓", "fail": "✗", "not-seen": "?"}


@dataclass(slots=True)
class Memory:
    """What the observer knows of earlier runs."""

    contacts: dict[str, set[str]] = field(default_factory=dict)  # the URIs that phones gave as theirs, by phone
    calls: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED_CALLS))  # Call-IDs of INVITEs
    cut_at: float = 0.0  # when every tap had been cut for the run before, in Unix seconds


def judge(request: Request, topology: Topology, without: str, memory: Memory) -> Request:
    """Judge one run. In: {"run", "legs", "began", "since"}; out: {"text", "exit_code", "folder", "verdict", "ladder"}.

    Adds to the memory. What was before `since` (Unix seconds), when the routers were others, is not of this run, nor is
    what the proxy still repeats of calls of that time. Where the taps have more than is judged at once, what was before
    the run `began` is left out, the oldest first.
    """
    folder = ROOM / "out" / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{request['run']}"
    folder.mkdir(parents=True)
    ended = time.time()
    settle(topology)
    has_audio = any(leg.get("audio") for leg in request["legs"])
    drops, deaf, whole_since = cut(topology, folder, topology.phones if has_audio else ())
    since = request.get("since", 0.0)
    if whole_since > request["began"]:
        missing = whole_since - request["began"]
        deaf.append(f"too much passed the taps: what the first {missing:.1f} s were is not known any more")
    # Where TLS is spoken nothing is left out: no connection can be read without its beginning.
    kept_since = 0.0 if PROXY_KEYS.exists() else newest.keep(captures(folder), request["began"])
    began, memory.cut_at = max(since, whole_since, kept_since, memory.cut_at), time.time()
    histories, silent = ask_routers(topology, folder, since)
    topology = topology.with_profiles({router: history.profile for router, history in histories.items()})
    if PROXY_KEYS.exists():
        shutil.copy(PROXY_KEYS, folder / KEYS)
        began = max(began, connections.prepend(folder, ROOM / "captures" / "before"))
    earlier = set(memory.calls) if since else set()
    sightings = [seen for seen in within(decode(folder), began, ended) if seen.call_id not in earlier]
    journeys = story.tell(sightings, topology)
    case = Case(
        topology, journeys, sightings, request["legs"], _probes(topology), histories, silent,
        {name: set(known) for name, known in memory.contacts.items()}, request["began"],
    )  # fmt: skip
    for name, given in contacts_of_phones(journeys, topology).items():
        memory.contacts.setdefault(name, set()).update(given)
    # A stranger's INVITE without a Call-ID is not remembered: sound, and whatever else is no SIP, has none either.
    memory.calls.extend({one.first.call_id for one in journeys if one.first.method == "INVITE"} - earlier - {""})
    verdict = checks.judge(case)
    verdict |= {"run": folder.name, "legs": request["legs"], "without": without.replace(",", " ").split()}
    verdict["facts"] = [{"code": fact.code, "text": fact.text} for fact in consequence.facts(case)]
    deaf += audio.missed(case)
    if any(drops.values()) or deaf:
        lost = f"packets lost at the taps: {drops}" if any(drops.values()) else ""
        verdict["verdict"] = "lab-broken"
        verdict["checks"].append(
            {"name": "captures-whole", "result": "fail", "evidence": "; ".join(filter(None, [lost, *deaf]))}
        )
    worth_drawing = _worth_drawing(journeys)
    drawing = ladder.draw(worth_drawing, case.around, _sound(case, worth_drawing))
    (folder / "story.json").write_text(json.dumps({"run": folder.name, "messages": story.as_json(journeys)}, indent=1))
    (folder / "ladder.txt").write_text(drawing)
    run.save(folder, topology, sightings)
    (folder / "verdict.json").write_text(json.dumps(verdict, indent=1))
    audio.save(case, folder)
    _collect_phone_files(request["run"], folder)
    _forget_old_runs()
    text = f"{drawing}\n{words(verdict)}"
    print(text, flush=True)
    code = EXIT_CODES[verdict["verdict"]]
    return {"text": text, "exit_code": code, "folder": folder.name, "verdict": verdict, "ladder": drawing}


def settle(topology: Topology) -> None:
    """Return when what the routers held back has gone on, so that the taps have seen where it went.

    What one has let go may be held by the next. One that does not answer is asked again for what it did
    (`ask_routers`), and then told about.
    """

    def has_waited(router: str) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return bool(ask(router, {"do": "settle"}, HELD_S + ROUTER_S)["waited"])
        return False

    routers = [home.router for home in topology.homes]
    with ThreadPoolExecutor(len(routers)) as pool:
        for _ in range(ROUNDS):
            if not any(list(pool.map(has_waited, routers))):
                return


def cut(topology: Topology, folder: Path, phones: Sequence[str] = ()) -> tuple[dict[str, int], list[str], float]:
    """Have the taps put their captures into the folder, those at these phones too.

    Returns the kernel's drops by tap, which do not answer, and since when all have everything (`Tap.cut`).
    """

    def one(name: str) -> tuple[Request, str]:
        try:
            return ask(name, {"folder": str(folder)}), ""
        except (OSError, ValueError) as error:
            return {"drops": {}, "since": 0.0}, f"{name} does not answer: {error}"

    names = ("tap-proxy", "tap-core", *(f"tap-{name}" for name in (*[home.router for home in topology.homes], *phones)))
    with ThreadPoolExecutor(len(names)) as pool:  # each starts a program and ends one
        said = list(pool.map(one, names))
    drops = {label: count for answer, _ in said for label, count in answer["drops"].items()}
    return drops, [why for _, why in said if why], max(answer["since"] for answer, _ in said)


def within(sightings: list[Sighting], began: float, ended: float) -> list[Sighting]:
    """Return what is of a run that began and ended then (Unix seconds), of sightings in the order of time.

    The taps are cut one after another: a message that is sent meanwhile (a phone refreshes, the proxy looks whether one
    is alive) is in the capture of one and not of the next, and would look lost in between. So what is first seen after
    `ended`, when the cut was asked for, is of no run, be it the answer to what is. A message that was on its way is
    followed to where it was going, as often as it had been sent.
    """
    kept: list[Sighting] = []
    passed: dict[tuple[object, ...], Counter[tuple[object, ...]]] = defaultdict(Counter)
    for seen in sightings:
        if seen.time < began:
            continue
        places = passed[story.message(seen)]
        place = seen.tap, seen.source, seen.destination
        if seen.time >= ended and not (seen.is_sip and places and places[place] < max(places.values())):
            continue
        places[place] += 1
        kept.append(seen)
    return kept


def ask_routers(
    topology: Topology, folder: Path, since: float = 0.0
) -> tuple[dict[str, History], dict[str, str]]:  # fmt: skip
    """Ask the routers what they did, and put it into the folder: router.json, router-bob.json.

    Returns the histories since then by the routers' names, and why those that do not answer do not.
    """
    histories, silent = {}, {}
    for home in topology.homes:
        try:
            said = ask(home.router, {"do": "history"}, ROUTER_S)
        except (OSError, ValueError) as error:  # a router that is killed while it speaks leaves half a line
            silent[home.router] = str(error) or "it was asked, and said nothing"
            continue
        events = [event for event in said["events"] if event["time"] >= since]
        histories[home.router] = History(home.router, said["profile"], events)
        (folder / f"router{home.router.removeprefix('nat')}.json").write_text(json.dumps(said, indent=1))
    return histories, silent


def _probes(topology: Topology) -> dict[str, dict[str, Any]]:
    """Return what the start probes left, by the name of the phone in whose place each was."""
    left = {name: ROOM / f"probe-{name}.json" for home in topology.homes for name in home.phones}
    return {name: json.loads(path.read_text()) for name, path in left.items() if path.exists()}


def words(verdict: dict[str, Any]) -> str:
    """Return the verdict as the user reads it: a line per check, what happened unless all is well, and a last one."""
    width = max(len(check["name"]) for check in verdict["checks"])
    lines = [f"  {SIGNS[check['result']]} {check['name']:<{width}}  {check['evidence']}" for check in verdict["checks"]]
    calls = ", ".join(
        f"{leg['from']} → {leg['to']}{' × %d' % leg['count'] if leg['count'] > 1 else ''}" for leg in verdict["legs"]
    )
    off = f" (without {', '.join(verdict['without'])})" if verdict["without"] else ""
    wrong = [check["name"] for check in verdict["checks"] if check["result"] != "pass"]
    last = f"verdict: {verdict['verdict'].upper()}  {calls}{off}{': ' if wrong else ''}{', '.join(wrong)}"
    happened = [f"  {fact['text']}" for fact in verdict["facts"]] if verdict["verdict"] != "pass" else []
    return "\n".join([*lines, *(["", "what happened:", *happened] if happened else []), "", last])


def _worth_drawing(journeys: list[story.Journey]) -> list[story.Journey]:
    """Registrations, and the first few calls: fifty ladders on one page help nobody. story.json has them all."""
    calls = list(dict.fromkeys(journey.first.call_id for journey in journeys if journey.first.method == "INVITE"))
    drawn = set(calls[:MOST_CALLS_DRAWN])
    return [journey for journey in journeys if journey.first.call_id in drawn or journey.first.call_id not in calls]


def _sound(case: Case, drawn: list[story.Journey]) -> list[unheard.Hop]:
    """Return the hops of what was said in the calls that are drawn."""
    calls = {journey.first.call_id for journey in drawn}
    return [hop for direction, way in unheard.hops(case) for hop in way if direction.call_id in calls]


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
    memory = Memory()
    threading.Thread(
        target=serve, args=("observer", lambda request: judge(request, topology, without, memory)), daemon=True
    ).start()
    until_stopped()
    return 0


