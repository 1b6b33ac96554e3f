"""Run in a phone's container: `PORT CALLS RATE` has dave call carol, both SIPp, through the proxy at that port.

Prints what each of them counted, as JSON. With `register` instead of CALLS carol registers, and nobody calls; with
`answer CALLS SECONDS` she answers until /tmp/answered is there, no longer than that, and with `place CALLS RATE` he
calls: then the two may be in different containers. (SIPp's own limit would count the proxy's OPTIONS to her as calls.)
"""

import json
import secrets
import sys
import time
from dataclasses import asdict
from pathlib import Path

from sipp_scenarios import sipp
from sipp_scenarios.sipp import Sipp

CALLER, CALLEE = 5092, 5093  # Bob himself waits on 5060
TALK_MS = 200
ANSWERED = Path("/tmp/answered")
END_S = 20.0  # longer than all waits of a scenario together


def start(scenario: str, port: int, me: str, peer: str, *arguments: str) -> Sipp:
    """Start a SIPp that is this user. It calls the proxy at the lab's one SIP port, and has a port of its own."""
    sipp.PORT = int(sys.argv[1])
    who = ["-p", str(port), "-key", "me", me, "-key", "peer", peer, "-au", me, "-ap", f"{me}-secret"]
    started = Sipp(scenario, Path("/tmp/load"), secrets.token_hex(4), [*who, *arguments])
    sipp.PORT = port  # where it is expected to listen
    return started


def answering(calls: str) -> Sipp:
    """Start carol; return when she listens."""
    callee = start("uas_call", CALLEE, "carol", "dave", "-l", calls)
    callee.listen()
    return callee


def placing(calls: str, rate: str) -> Sipp:
    """Start dave."""
    limits = ["-m", calls, "-l", calls, "-r", rate, "-d", str(TALK_MS)]
    return start("uac_call", CALLER, "dave", "carol", *limits)


if sys.argv[2] == "register":
    terms = ["-m", "1", "-key", "expires", "3600", "-key", "gone", ""]
    counts = {"carol": start("register", CALLEE, "carol", "dave", *terms).wait(END_S)}
elif sys.argv[2] == "answer":
    callee = answering(sys.argv[3])
    deadline = time.monotonic() + float(sys.argv[4])
    while not ANSWERED.exists() and time.monotonic() < deadline:
        time.sleep(0.1)  # pacing of a poll, with a deadline
    ANSWERED.unlink(missing_ok=True)
    counts = {"carol": callee.stop()}
elif sys.argv[2] == "place":
    counts = {"dave": placing(*sys.argv[3:]).wait(int(sys.argv[3]) / int(sys.argv[4]) + END_S)}
else:
    calls, rate = sys.argv[2:]
    callee, caller = answering(calls), placing(calls, rate)
    counts = {"dave": caller.wait(int(calls) / int(rate) + END_S), "carol": callee.stop()}
print(json.dumps({name: asdict(each) for name, each in counts.items()}))
