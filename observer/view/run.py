"""A run's folder as the view reads it again: run.json has what captures, verdict and histories do not say."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from observer.decode import Sighting, decode
from observer.history import History
from observer.topology import Home, Topology
from observer.view import media
from observer.view.model import Seen

FILE = "run.json"


def save(folder: Path, topology: Topology, sightings: Iterable[Sighting]) -> None:
    """Write who is where, and which SIP of the captures is of this run: all that was judged lies in between."""
    times = [seen.time for seen in sightings if seen.is_sip]
    about = {
        "topology": {**asdict(topology), "_names": None},
        "began": min(times, default=0.0), "ended": max(times, default=0.0),
        "calls": sorted({seen.call_id for seen in sightings if seen.is_sip}),
    }  # fmt: skip
    (folder / FILE).write_text(json.dumps(about, indent=1))


def load(folder: Path) -> Seen:
    """Return what a run's folder tells. Raises FileNotFoundError for one without run.json."""
    about = json.loads((folder / FILE).read_text())
    topology = _topology(about["topology"])
    calls = set(about["calls"])
    sightings = [
        seen
        for seen in decode(folder)
        if (about["began"] <= seen.time <= about["ended"] and (seen.crlf or seen.call_id in calls))
        or not (seen.is_sip or seen.crlf)
    ]
    histories, kinds = _histories(folder, topology)
    judged = json.loads((folder / "verdict.json").read_text())
    seen = Seen(folder.name, topology, sightings, histories, kinds, judged)
    seen.media = media.streams(folder, topology)
    return seen


def _topology(written: dict[str, Any]) -> Topology:
    homes = tuple(Home(**{**home, "wan": tuple(home["wan"])}) for home in written["homes"])
    one, other = written["reflectors"]
    return Topology(homes, written["public"], written["proxy"], written["core"], (one, other))


def _histories(folder: Path, topology: Topology) -> tuple[dict[str, History], dict[str, str]]:
    histories, kinds = {}, {}
    for home in topology.homes:
        path = folder / f"router{home.router.removeprefix('nat')}.json"
        if path.exists():
            said = json.loads(path.read_text())
            histories[home.router] = History(home.router, said["profile"], said["events"])
            kinds[home.router] = said["name"]
    return histories, kinds
