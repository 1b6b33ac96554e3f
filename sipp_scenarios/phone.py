"""A phone made of SIPp: it registers, stays registered, answers any call, and places one when asked.

    phone NAME --peer NAME [--then call|wait]     be that phone
    phone call --from NAME [--flow NAME] ...      ask the phones of the running lab for calls, and the observer
                                                  for the verdict; exit with it

By UDP SIPp holds one socket, the phone's: while it waits for calls, nobody else can use that address and port. So the
phone ends the waiting SIPp whenever it registers or calls, and starts it again afterwards. By TCP the waiting SIPp
has a connection of its own, by which it registers, and calls that the phone places have another.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path

from observer import sound
from observer.control import MANY, ROOM, Request, serve
from sipp_scenarios import routers
from sipp_scenarios.legs import CALL_S, THIRD, THIRD_PORT, Before, both_ways, one_way, patience, report
from sipp_scenarios.parts import EVENTS, audible, callee, eventful, flows
from sipp_scenarios.sipp import (
    PORT,
    SILENT,
    ConnectedSipp,
    Counts,
    Sipp,
    Voice,
    await_closed,
    own_address,
    transport,
    transport_param,
)
from sipp_scenarios.stun import Address

EXPIRES_S = 3600
# Below the 30 s after which a router forgets a UDP flow that was short (RFC 4787 REQ-5 wants 120).
REFRESH_S = float(os.environ.get("PHONE_REFRESH_S") or 20)
TALK_MS = 200
OTHER_PORTS = range(5100, 5200, 2)  # for who is to speak from another: the last ones are long forgotten
REGISTER_S = 5.0
FILES = Path("/tmp")
PATIENT = ("-d", str(TALK_MS), "-set", "patient", "1")
RATE_PER_S = 100  # calls that are placed at once start at this rate
TALK_AT_ONCE_MS = 1000  # so that fifty calls are all up together


class Phone:
    """One phone: its waiting SIPp, and what it can be asked to do."""

    def __init__(self, name: str, peer: str, port: int = PORT, files: Path = FILES) -> None:
        """Make a phone that speaks from `port`; what it writes and belongs to no run goes into `files`."""
        self.name = name
        self._peer = peer
        self._port = port
        self._others = itertools.cycle(OTHER_PORTS)
        self._files = files
        files.mkdir(exist_ok=True)
        self._recording = sound.write(name, files)
        self._lock = threading.Lock()
        self._registered = False
        self._has_left = False  # and comes back when it is told to: its router may be changing
        self._waiting: Sipp | None = None
        self._placing: tuple[str, Sipp] | None = None  # the run, and who calls
        self._hung_up = ""  # the run that is to end
        self._has_connection = transport() != "udp"
        self._call_id = secrets.token_hex(8)  # of all its registrations (RFC 3261 §10.2)
        self._started = time.monotonic()  # the later REGISTER has the higher CSeq
        self._known: Address | None = None  # in its last Contact, which the next registration takes back
        self._count_refresh(0)
        self._engaged_until = 0.0  # in calls that are counted: a refresh would take the counting SIPp away

    def start(self) -> None:
        """Register and begin to wait for calls. A phone whose REGISTER is not answered works on, as real ones do."""
        with self._lock:
            self._register()
            self._wait_for_calls()

    def keep_registered(self) -> None:
        """Refresh the registration, and with it the hole in the router, for ever."""
        while True:
            threading.Event().wait(REFRESH_S)
            try:
                self.refresh()
            except Exception as error:  # whatever goes wrong, a route that changes or a busy machine: it will pass
                print(f"{self.name}: no refresh this time: {error!r}", flush=True)

    def refresh(self) -> None:
        """Register again, unless the phone has left, or is in a call, or its SIPp does it."""
        with self._lock:
            if self._has_left or time.monotonic() < self._engaged_until:
                return
            waiting = self._waiting  # none after a refresh that has failed half way
            if waiting and waiting.is_running() and (self._has_connection or waiting.calls_up()):
                return  # its scenario refreshes; or it is in a call, and the socket is SIPp's
            self._stop_waiting()
            self._register()
            self._wait_for_calls()
            self._count_refresh(self._refreshes + 1)

    def answer(self, request: Request) -> Request:
        """Do what a request asks: `register`, `leave`, `listen`, `place`, `finish`; see `legs.converse`.

        One after another, but for `hang-up`, which ends what `place` does.
        """
        if request["do"] == "hang-up":
            return self._hang_up(request)
        asked = {
            "register": self._register_now, "leave": self._leave,
            "listen": self._listen, "place": self._place, "finish": self._finish,
        }  # fmt: skip
        if request["do"] not in asked:
            raise ValueError(f"a phone cannot {request['do']!r}")
        with self._lock:
            self._has_left = request["do"] == "leave"
            return asked[request["do"]](request)

    def _register_now(self, request: Request) -> Request:
        self._stop_waiting()
        if request.get("elsewhere"):
            self._port = next(self._others)
        self._register()
        self._wait_for_calls()
        return {"registered": self._registered, "port": self._port}

    def _leave(self, _: Request) -> Request:
        """Take the binding back. (By TCP it ends with the connection.)"""
        self._stop_waiting()
        if self._has_connection:
            self._known = None
        elif self._known:
            left = self._sipp("leave", self._files / "register", ["-m", "1", *self._numbered()]).wait(REGISTER_S)
            if left.successful:  # else the next registration takes the old Contact back
                self._known = None
        await_closed()
        self._registered = False
        return {"registered": False}

    def _listen(self, request: Request) -> Request:
        self._stop_waiting()
        self._wait_for_calls(
            self._folder(request), self._talk(request), request.get("flow", "call"), self._voice(request)
        )
        self._engaged_until = time.monotonic() + patience(request)
        return {"listening": True}

    def _finish(self, _: Request) -> Request:
        self._count_refresh(0)
        self._engaged_until = 0.0
        counts = self._stop_waiting()
        self._wait_for_calls()
        return asdict(counts or Counts(0, 0, 0, 1))  # a SIPp has counts: without them there is no check

    def _place(self, request: Request) -> Request:
        self._count_refresh(0)
        if not self._has_connection:
            self._stop_waiting()
        count = request["count"]
        together = ["-l", str(count), "-r", str(RATE_PER_S)] if request["at_once"] else ["-l", "1", "-r", "10"]
        event = request.get("event", "")
        arguments = [*self._talk(request), "-m", str(count), *together, *(["-set", "eventful", "1"] if event else [])]
        scenario = f"uac_{request.get('flow', 'call')}"
        sipp = self._sipp(scenario, self._folder(request), arguments, self._voice(request))
        self._placing = request["run"], sipp
        if self._hung_up == request["run"]:
            sipp.stop()
        try:
            if event:
                sipp.when_up(lambda: routers.suffer("alice", event))
        finally:  # whatever becomes of the router, the call ends, and the phone can be called again
            counts = sipp.wait((CALL_S + request.get("audio", 0.0)) * (1 if request["at_once"] else count))
            if not self._has_connection:
                self._wait_for_calls()
        return asdict(counts)

    def _hang_up(self, request: Request) -> Request:
        """Place no more calls of this run, whether `place` has come already or comes yet; those that are up end."""
        self._hung_up = request["run"]
        placing = self._placing
        if placing and placing[0] == self._hung_up:
            placing[1].stop()
        return {"hung_up": True}

    def _folder(self, request: Request) -> Path:
        return ROOM / "runs" / str(request["run"]) / self.name

    def _count_refresh(self, count: int) -> None:
        """Write down how often it has refreshed since it was last in calls that were counted."""
        self._refreshes = count
        (self._files / "refreshes").write_text(str(count), encoding="ascii")

    def _talk(self, request: Request) -> list[str]:
        duration = TALK_AT_ONCE_MS if request["at_once"] else TALK_MS
        return ["-d", str(duration), *(["-set", "callee_hangs_up", "1"] if request["hangup"] == "callee" else [])]

    def _voice(self, request: Request) -> Voice:
        """Return how it is to be heard in these calls."""
        return Voice(self._recording, request["audio"]) if request.get("audio") else SILENT

    def _register(self) -> None:
        if self._has_connection:
            return  # whoever waits for calls does
        arguments = ["-m", "1", *self._registration()]
        sipp = self._sipp("register", self._files / "register", arguments)
        self._known = sipp.address, sipp.port
        self._tell(sipp.wait(REGISTER_S).successful == 1)

    def _registration(self) -> list[str]:
        """Return what makes it a registration of this phone, which takes its former Contact back."""
        gone = ""
        if self._known and (self._has_connection or self._known[0] != own_address()):
            address, port = self._known
            gone = f", <sip:{self.name}@{address}:{port}{transport_param()}>;expires=0"
        return ["-key", "expires", str(EXPIRES_S), "-key", "gone", gone, *self._numbered()]

    def _numbered(self) -> list[str]:
        """Return what makes a REGISTER a later one of the same phone."""
        return ["-cid_str", self._call_id, "-base_cseq", str(int(100 * (time.monotonic() - self._started)))]

    def _tell(self, registered: bool) -> None:
        if registered != self._registered or not registered:
            print(f"{self.name}: {'registered' if registered else 'no answer to REGISTER; working on'}", flush=True)
        self._registered = registered

    def _wait_for_calls(
        self, folder: Path | None = None, arguments: Sequence[str] = PATIENT, flow: str = "call", voice: Voice = SILENT
    ) -> None:
        # Ended by signal: no number of calls ends it.
        folder = folder or self._files / "waiting"
        if self._has_connection:
            self._connect(callee(flow), folder, arguments, voice)
        else:
            self._waiting = self._sipp(callee(flow), folder, arguments, voice)
            self._waiting.listen()

    def _connect(self, scenario: str, folder: Path, arguments: Sequence[str], voice: Voice) -> None:
        self._prepare(folder)
        given = [*self._who(), *self._registration(), *arguments]
        sipp = ConnectedSipp(scenario, folder, secrets.token_hex(4), given, REFRESH_S, voice)
        self._waiting = sipp
        self._known = sipp.address, sipp.port
        sipp.listen()
        self._tell(sipp.is_registered())

    def _stop_waiting(self) -> Counts | None:
        waiting, self._waiting = self._waiting, None
        return waiting.stop() if waiting else None

    def _sipp(self, scenario: str, folder: Path, arguments: Sequence[str], voice: Voice = SILENT) -> Sipp:
        self._prepare(folder)
        return Sipp(scenario, folder, secrets.token_hex(4), [*self._who(), *arguments], self._port, voice)

    def _who(self) -> list[str]:
        return ["-key", "me", self.name, "-au", self.name, "-ap", f"{self.name}-secret", "-key", "peer", self._peer]

    def _prepare(self, folder: Path) -> None:
        if ROOM not in folder.parents:  # nobody's run: its files go with the next one
            shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Return the exit status: of the verdict; where there is none, 2 from `phone call` and 3 from Alice."""
    parser = argparse.ArgumentParser(prog="phone", description=__doc__)
    parser.add_argument("name", help="alice, bob, or `call`")
    parser.add_argument("--peer", default="")
    parser.add_argument("--run", default=secrets.token_hex(6), help="what the run's folder is called")
    parser.add_argument("--then", choices=("call", "wait"), default="wait")
    parser.add_argument("--from", dest="caller", choices=("alice", "bob", "both"), default="both")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--at-once", action="store_true")
    parser.add_argument("--hangup", choices=("caller", "callee"), default="callee")
    parser.add_argument("--flow", default="call")
    parser.add_argument(
        "--router", action="append", default=[], metavar="HOME=KIND", help="what a router becomes before; repeatable"
    )
    parser.add_argument("--register", default="", metavar="NAME,...", help="who registers anew then")
    parser.add_argument(
        "--silence", default="", metavar="NAME",
        help="who registers from a new port then, and is silent until the router has forgotten it",
    )  # fmt: skip
    parser.add_argument(
        "--event", choices=EVENTS, default="", help="what happens to the router of Alice's home in mid-call"
    )
    parser.add_argument(
        "--audio", type=float, nargs="?", const=sound.SECONDS, default=0.0, metavar="SECONDS",
        help="the two play something for so long, and it is judged who is heard",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print all that the observer says, for a program")
    given = parser.parse_args()
    if given.flow not in flows():
        print(f"phone: --flow {given.flow}: unknown; the flows are {', '.join(flows())}", file=sys.stderr)
        return 2
    if given.event and (given.flow not in eventful() or given.count > 1):
        wanted = f"needs one call, of the flows {', '.join(eventful())}"
        print(f"phone: --event {given.event}: {wanted}", file=sys.stderr)
        return 2
    if given.audio and given.flow not in audible():
        print(f"phone: --audio: needs one of the flows {', '.join(audible())}", file=sys.stderr)
        return 2
    if given.name == "call":
        legs = both_ways(given.audio) if given.caller == "both" else [one_way(given)]
        legs = [{**leg, "flow": given.flow, "event": given.event} for leg in legs]
        kinds = dict(text.split("=", 1) for text in given.router)
        before = Before(kinds, given.register.replace(",", " ").split(), given.silence)
        choose = json.dumps if given.json else itemgetter("text")
        asker = sys.stdin.fileno() if os.environ.get("STDIN_HELD") else None  # labkit/stack.py
        return report(legs, given.run, choose, otherwise=2, before=before, asker=asker)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    phone = Phone(given.name, given.peer)
    phone.start()
    threading.Thread(target=phone.keep_registered, daemon=True).start()
    third = Phone(THIRD, given.name, THIRD_PORT, FILES / THIRD)
    phones = {given.name: phone, THIRD: third}
    control = threading.Thread(
        target=serve, daemon=True,
        args=(given.name, lambda request: phones[request.get("as", given.name)].answer(request), MANY),
    )  # fmt: skip
    control.start()
    if given.then == "call":
        # The observer prints ladder and checks; the last word is Alice's.
        return report(both_ways(sound.SECONDS), given.run, lambda said: str(said["text"]).splitlines()[-1], otherwise=3)
    control.join()
    return 1


if __name__ == "__main__":
    sys.exit(main())
