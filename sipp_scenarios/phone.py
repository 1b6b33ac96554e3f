"""A phone made of SIPp: it registers, stays registered, answers any call, and places one when asked.

    phone NAME --peer NAME [--then call|wait]     be that phone
    phone call --from NAME [--count N] ...        ask the phones of the running lab for calls, and the observer
                                                  for the verdict; exit with it

By UDP SIPp holds one socket, the phone's: while it waits for calls, nobody else can use that address and port. So the
phone ends the waiting SIPp whenever it registers or calls, and starts it again afterwards. By TCP the waiting SIPp
has a connection of its own, by which it registers, and calls that the phone places have another.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from observer.control import PATIENCE_S, ROOM, Request, ask, await_room, serve
from sipp_scenarios.sipp import ConnectedSipp, Counts, Sipp, transport

EXPIRES_S = 3600
REFRESH_S = 20.0  # below the 30 s after which a router forgets a UDP flow that was short (RFC 4787 REQ-5 wants 120)
REFRESHES = Path("/tmp/refreshes")  # how often it has refreshed since it was last in calls that were counted
START_S = 30.0  # for everybody who is needed for a call to be there
TALK_MS = 200
REGISTER_S = 5.0
WAITING = Path("/tmp/waiting")
PATIENT = ("-d", str(TALK_MS), "-set", "patient", "1")
CALL_S = 16.0  # longer than all waits in uac_call.xml together
RATE_PER_S = 100  # calls that are placed at once start at this rate
TALK_AT_ONCE_MS = 1000  # so that fifty calls are all up together


class Phone:
    """One phone: its waiting SIPp, and what it can be asked to do."""

    def __init__(self, name: str, peer: str) -> None:
        self.name = name
        self._peer = peer
        self._lock = threading.Lock()
        self._registered = False
        self._waiting: Sipp | None = None
        self._has_connection = transport() != "udp"
        self._call_id = secrets.token_hex(8)  # of all registrations by connection (RFC 3261 §10.2)
        self._started = time.monotonic()  # the later REGISTER has the higher CSeq
        self._gone = ""  # the Contact that the next of them takes back
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
            with self._lock:
                if self._has_connection and self._waiting and self._waiting.is_running():
                    continue  # its scenario refreshes
                if time.monotonic() < self._engaged_until or (self._waiting and self._waiting.calls_up()):
                    continue  # in a call, and the socket is SIPp's
                self._stop_waiting()
                self._register()
                self._wait_for_calls()
                self._count_refresh(self._refreshes + 1)

    def answer(self, request: Request) -> Request:
        """Do what a request asks: `listen`, `place`, `finish`; see `converse`."""
        folder = ROOM / "runs" / request["run"] / self.name
        with self._lock:
            if request["do"] == "listen":
                self._stop_waiting()
                self._wait_for_calls(folder, self._talk(request))
                self._engaged_until = time.monotonic() + patience(request)
                return {"listening": True}
            self._count_refresh(0)
            if request["do"] == "finish":
                self._engaged_until = 0.0
                counts = self._stop_waiting()
                self._wait_for_calls()
                return asdict(counts or Counts(0, 0, 0, 1))  # a SIPp has counts: without them there is no check
            if request["do"] == "place":
                if self._has_connection:
                    return asdict(self._place(request, folder))
                self._stop_waiting()
                counts = self._place(request, folder)
                self._wait_for_calls()
                return asdict(counts)
        raise ValueError(f"a phone cannot {request['do']!r}")

    def _count_refresh(self, count: int) -> None:
        self._refreshes = count
        REFRESHES.write_text(str(count), encoding="ascii")

    def _place(self, request: Request, folder: Path) -> Counts:
        count = request["count"]
        together = ["-l", str(count), "-r", str(RATE_PER_S)] if request["at_once"] else ["-l", "1", "-r", "10"]
        sipp = self._sipp("uac_call", folder, [*self._talk(request), "-m", str(count), *together])
        return sipp.wait(CALL_S * (1 if request["at_once"] else count))

    def _talk(self, request: Request) -> list[str]:
        duration = TALK_AT_ONCE_MS if request["at_once"] else TALK_MS
        return ["-d", str(duration), *(["-set", "callee_hangs_up", "1"] if request["hangup"] == "callee" else [])]

    def _register(self) -> None:
        if self._has_connection:
            return  # whoever waits for calls does
        arguments = ["-m", "1", *self._registration()]
        self._tell(self._sipp("uac_register", Path("/tmp/register"), arguments).wait(REGISTER_S).successful == 1)

    def _registration(self) -> list[str]:
        return ["-key", "expires", str(EXPIRES_S), "-key", "gone", self._gone]

    def _tell(self, registered: bool) -> None:
        if registered != self._registered or not registered:
            print(f"{self.name}: {'registered' if registered else 'no answer to REGISTER; working on'}", flush=True)
        self._registered = registered

    def _wait_for_calls(self, folder: Path = WAITING, arguments: Sequence[str] = PATIENT) -> None:
        # Ended by signal: no number of calls ends it.
        if self._has_connection:
            self._connect(folder, arguments)
        else:
            self._waiting = self._sipp("uas_call", folder, arguments)
            self._waiting.listen()

    def _connect(self, folder: Path, arguments: Sequence[str]) -> None:
        self._prepare(folder)
        cseq = ["-cid_str", self._call_id, "-base_cseq", str(int(100 * (time.monotonic() - self._started)))]
        who = [*self._who(), *self._registration()]
        sipp = self._waiting = ConnectedSipp(folder, secrets.token_hex(4), [*who, *cseq, *arguments])
        sipp.listen()
        self._tell(sipp.is_registered())
        self._gone = f", <sip:{self.name}@{sipp.address}:{sipp.port};transport={transport()}>;expires=0"

    def _stop_waiting(self) -> Counts | None:
        waiting, self._waiting = self._waiting, None
        return waiting.stop() if waiting else None

    def _sipp(self, scenario: str, folder: Path, arguments: Sequence[str]) -> Sipp:
        self._prepare(folder)
        return Sipp(scenario, folder, secrets.token_hex(4), [*self._who(), *arguments])

    def _who(self) -> list[str]:
        return ["-key", "me", self.name, "-au", self.name, "-ap", f"{self.name}-secret", "-key", "peer", self._peer]

    def _prepare(self, folder: Path) -> None:
        if ROOM not in folder.parents:  # nobody's run: its files go with the next one
            shutil.rmtree(folder, ignore_errors=True)


def patience(leg: dict[str, Any]) -> float:
    """Return the seconds that a leg's calls may take at the most, one after another and all failing."""
    return PATIENCE_S + CALL_S * int(leg["count"])


def converse(legs: list[dict[str, Any]], run: str) -> Request:
    """Have the phones place these calls, and return the observer's verdict: {"text", "exit_code", "folder"}.

    A leg is {"from", "to", "count", "at_once", "hangup": "caller" or "callee"}. Raises OSError when a phone or the
    observer does not do its part.
    """
    for name in ("alice", "bob", "observer"):
        await_room(name, START_S)
    for leg in legs:
        request = {**leg, "run": run}
        ask(leg["to"], {"do": "listen", **request})
        leg[leg["from"]] = ask(leg["from"], {"do": "place", **request}, patience(leg))
        leg[leg["to"]] = ask(leg["to"], {"do": "finish", **request})
    return ask("observer", {"run": run, "legs": legs})


def both_ways() -> list[dict[str, Any]]:
    """Return the legs of the first call: each calls once, and each hangs up once; less would hide faults."""
    return [
        {"from": "alice", "to": "bob", "count": 1, "at_once": False, "hangup": "callee"},
        {"from": "bob", "to": "alice", "count": 1, "at_once": False, "hangup": "callee"},
    ]


def one_way(given: argparse.Namespace) -> dict[str, Any]:
    """Return the leg that the command line asks for."""
    callee = {"alice": "bob", "bob": "alice"}[given.caller]
    call = {"from": given.caller, "to": callee, "count": given.count}
    return {**call, "at_once": given.at_once, "hangup": given.hangup}


def report(legs: list[dict[str, Any]], run: str, choose: Callable[[str], str], otherwise: int) -> int:
    """Have the calls placed, print what is chosen of the verdict, and return its exit code."""
    try:
        verdict = converse(legs, run)
    except OSError as error:
        print(f"phone: no verdict: {error}", file=sys.stderr, flush=True)
        return otherwise
    print(choose(verdict["text"]), flush=True)
    return int(verdict["exit_code"])


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
    given = parser.parse_args()
    if given.name == "call":
        legs = both_ways() if given.caller == "both" else [one_way(given)]
        return report(legs, given.run, lambda text: text, otherwise=2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    phone = Phone(given.name, given.peer)
    phone.start()
    threading.Thread(target=phone.keep_registered, daemon=True).start()
    control = threading.Thread(target=serve, args=(given.name, phone.answer), daemon=True)
    control.start()
    if given.then == "call":
        # The observer prints ladder and checks; the last word is Alice's.
        return report(both_ways(), given.run, lambda text: text.splitlines()[-1], otherwise=3)
    control.join()
    return 1


if __name__ == "__main__":
    sys.exit(main())
