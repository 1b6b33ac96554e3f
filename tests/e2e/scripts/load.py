"""Run in Bob's container: `PORT CALLS RATE` has dave call carol, both SIPp, through the proxy at that port.

Prints what each of them counted, as JSON. With `register` instead of CALLS carol registers, and nobody calls.
"""

import json
import secrets
import sys
from dataclasses import asdict
from pathlib import Path

from sipp_scenarios import sipp
from sipp_scenarios.sipp import Sipp

CALLER, CALLEE = 5092, 5093  # Bob himself waits on 5060
TALK_MS = 200
END_S = 20.0  # longer than all waits of a scenario together


def start(scenario: str, port: int, me: str, peer: str, *arguments: str) -> Sipp:
    """Start a SIPp that is this user. It calls the proxy at the lab's one SIP port, and has a port of its own."""
    sipp.PORT = int(sys.argv[1])
    who = ["-p", str(port), "-key", "me", me, "-key", "peer", peer, "-au", me, "-ap", f"{me}-secret"]
    started = Sipp(scenario, Path("/tmp/load"), secrets.token_hex(4), [*who, *arguments])
    sipp.PORT = port  # where it is expected to listen
    return started


if sys.argv[2] == "register":
    terms = ["-m", "1", "-key", "expires", "3600", "-key", "gone", ""]
    counts = {"carol": start("register", CALLEE, "carol", "dave", *terms).wait(END_S)}
else:
    calls, rate = sys.argv[2:]
    callee = start("uas_call", CALLEE, "carol", "dave", "-l", calls)
    callee.listen()
    limits = ["-m", calls, "-l", calls, "-r", rate, "-d", str(TALK_MS)]
    caller = start("uac_call", CALLER, "dave", "carol", *limits)
    counts = {"dave": caller.wait(int(calls) / int(rate) + END_S), "carol": callee.stop()}
print(json.dumps({name: asdict(each) for name, each in counts.items()}))
