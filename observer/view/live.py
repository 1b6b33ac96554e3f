"""The view of a lab that runs: calls are told anew when something of them was seen, and no other."""

from __future__ import annotations

import calendar
import json
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from observer.control import ROOM, ask
from observer.decode import Sighting
from observer.history import History
from observer.story import tell
from observer.topology import Topology
from observer.view import media, schema
from observer.view.feed import Feed
from observer.view.heard import Heard
from observer.view.keepalives import Flows
from observer.view.model import Seen, document, one_call
from observer.view.tail import Packet, Tail, has_media
from observer.whereabouts import Surroundings

KEYS = Path("/keys/proxy.keys")
HELD_S = 0.25
SETTLED_S = 1.0  # what was seen so long ago and went no further is lost
ROUTER_S, ASK_S = 1.0, 2.0  # how often the routers are asked, and how long they may take
MOST_CALLS, MOST_SIGHTINGS = 400, 12_000  # that are kept; of one call MOST_OF_ONE
MOST_OF_ONE = 400
FORGOTTEN = "what is said in TLS connections that are up for long is not shown here any more: load the page anew"
BUSY = "the lab is busy: of {} packets the messages are not shown here; the run's own captures have them"


class Live:
    """What is seen, as long as somebody looks."""

    def __init__(self, topology: Topology, room: Path = ROOM, has_sound: bool = True) -> None:
        self._topology = topology
        self._room = room
        self._feed = Feed(KEYS)
        self._latest = _newest_run(room)
        self._tail = Tail(room / "captures", sorted(self._latest.glob("*.pcap")) if self._latest else ())
        self._flows = Flows(topology)
        self._held: deque[tuple[float, Sighting]] = deque(maxlen=MOST_OF_ONE)
        self._sightings: deque[Sighting] = deque(maxlen=MOST_SIGHTINGS)
        self._by_call: OrderedDict[str, list[Sighting]] = OrderedDict()
        self._numbers: dict[str, int] = {}  # of calls: so that their arrows keep their names
        self._calls: OrderedDict[str, schema.Call] = OrderedDict()
        self._unsettled: dict[str, float] = {}  # calls of which something may yet go further, and until when
        self._histories: dict[str, History] = {}
        self._kinds: dict[str, str] = {}
        self._asked = 0.0
        self._judged: Mapping[str, Any] = _verdict(self._latest)
        self._media: list[schema.Media] = []
        self._has_media = threading.Event()
        self._has_sound = has_sound
        self._heard = Heard(topology, _judged_at(self._latest))
        if self._latest:
            threading.Thread(target=self._count_media, args=(self._latest,), daemon=True).start()

    def step(self) -> schema.View | None:
        """Take what has come; return a view in which there are only the calls that are new or other, or nothing."""
        now = time.time()
        heard: list[Packet] = []
        packets: list[Packet] = []
        for packet in self._tail.packets():
            (heard if packet.is_media else packets).append(packet)
        if packets:
            self._feed.feed(packets)
        if self._has_sound:
            self._heard.add(heard)
            self._heard.count(now)
        touched = self._take(self._feed.sightings(), now)
        touched |= {call for call, until in self._unsettled.items() if until <= now}
        has_news = self._ask_routers(now) | self._look_for_verdict(touched)
        for counted in (self._has_media, self._heard.news):
            if counted.is_set():
                counted.clear()
                has_news = True
        if not touched and not has_news:
            return None
        told = self._tell(touched, now)
        return {**self.whole(), "calls": told}

    def whole(self) -> schema.View:
        """Return the view with all calls in it."""
        return document(self._seen(time.time()), list(self._calls.values()))

    def end(self) -> None:
        """Let go of everything."""
        self._feed.end()
        self._tail.close()

    def _take(self, sightings: Iterable[Sighting], now: float) -> set[str]:
        reflectors = set(self._topology.reflectors)
        touched = set()
        for seen in self._known(sightings, now):
            if {seen.source[0], seen.destination[0]} & reflectors:
                continue  # the probe's own
            self._sightings.append(seen)
            known = self._by_call.setdefault(seen.call_id, [])
            if len(known) >= MOST_OF_ONE and seen.crlf:
                del known[:2]  # of keep-alives the newest are shown, of all others how they began
            if len(known) < MOST_OF_ONE:
                known.append(seen)
                touched.add(seen.call_id)
                self._unsettled[seen.call_id] = now + SETTLED_S
        while len(self._by_call) > MOST_CALLS:
            oldest, _ = self._by_call.popitem(last=False)
            for kept in (self._calls, self._unsettled, self._numbers):
                kept.pop(oldest, None)
            touched.discard(oldest)
        return touched

    def _known(self, sightings: Iterable[Sighting], now: float) -> Iterator[Sighting]:
        """Yield those of which it is known what they are of: a keep-alive may come together with the first message of
        its flow, and is held back until that has been told."""
        for seen in sightings:
            if seen.crlf:
                self._held.append((now, seen))
            else:
                yield seen
        while self._held and self._held[0][0] < now - HELD_S:
            marked = self._flows.marked(self._held.popleft()[1])
            if marked is not None:
                yield marked

    def _tell(self, touched: Iterable[str], now: float) -> list[schema.Call]:
        seen = self._seen(now)
        around = Surroundings(self._topology, self._histories, seen.sightings)
        told = []
        for call in sorted(touched, key=lambda each: self._by_call[each][0].time):
            ordered = sorted(self._by_call[call], key=lambda each: each.time)
            number = self._numbers.setdefault(call, max(self._numbers.values(), default=-1) + 1)
            journeys = tell(ordered, self._topology)
            if not journeys:
                continue
            self._flows.learn(journeys)
            told.append(one_call(journeys, seen, around, number * MOST_OF_ONE))
            self._calls[call] = told[-1]
            if self._unsettled.get(call, now + 1) <= now:
                del self._unsettled[call]
        return told

    def _seen(self, now: float) -> Seen:
        notes = [BUSY.format(self._feed.left_out)] if self._feed.left_out else []
        notes += [FORGOTTEN] if self._feed.has_forgotten else []
        notes += [self._heard.note] if self._heard.note else []
        return Seen(
            self._latest.name if self._latest else "", self._topology, list(self._sightings), self._histories,
            self._kinds, self._judged, self._media + self._heard.streams, notes, live=True, settled=now - SETTLED_S,
        )  # fmt: skip

    def _ask_routers(self, now: float) -> bool:
        """Ask them now and then; say whether they have something new to tell."""
        if now - self._asked < ROUTER_S:
            return False
        self._asked = now
        before = {name: len(history.events) for name, history in self._histories.items()}
        for home in self._topology.homes:
            try:
                said = ask(home.router, {"do": "history"}, ASK_S)
            except (OSError, ValueError):
                continue
            self._histories[home.router] = History(home.router, said["profile"], said["events"])
            self._kinds[home.router] = said["name"]
        self._topology = self._topology.with_profiles({name: each.profile for name, each in self._histories.items()})
        return before != {name: len(history.events) for name, history in self._histories.items()}

    def _count_media(self, folder: Path) -> None:
        """Count what was heard in a run: once, when it has ended."""
        found = media.streams(folder, self._topology) if any(map(has_media, folder.glob("*.pcap"))) else []
        if folder == self._latest:
            self._media = found
            self._heard.streams = []  # of this run: what is said of them now is what was captured
            self._has_media.set()

    def _look_for_verdict(self, touched: set[str]) -> bool:
        """See whether a run was judged meanwhile; its failed checks belong to arrows that are there already."""
        newest = _newest_run(self._room)
        if newest is None or newest == self._latest:
            return False
        self._latest, self._judged, self._media = newest, _verdict(newest), []
        self._heard.forget(_judged_at(newest))
        threading.Thread(target=self._count_media, args=(newest,), daemon=True).start()
        times = {time for check in self._judged.get("checks", []) for _, time, _ in check.get("packets", [])}
        for call, sightings in self._by_call.items():
            if times and any(seen.time in times for seen in sightings):
                touched.add(call)
        return True


def _newest_run(room: Path) -> Path | None:
    """Return the newest run that was judged; None before the first."""
    try:
        runs = sorted((entry.name for entry in os.scandir(room / "out")), reverse=True)
    except FileNotFoundError:
        return None
    return next((room / "out" / name for name in runs if (room / "out" / name / "verdict.json").exists()), None)


def _judged_at(folder: Path | None) -> float:
    """Return when a run's captures were cut, as its folder's name has it, to a second."""
    return calendar.timegm(time.strptime(folder.name[:15], "%Y%m%d-%H%M%S")) + 1.0 if folder else 0.0


def _verdict(folder: Path | None) -> Mapping[str, Any]:
    if folder is None:
        return {}
    try:
        read: Mapping[str, Any] = json.loads((folder / "verdict.json").read_text())
    except (OSError, ValueError):  # it is being written
        return {}
    return read
