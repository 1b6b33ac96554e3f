"""In Bob's container: `KIND POD,...`: the phones leave, Alice's router becomes one of this kind, and is measured.

Exits as natctl does where it cannot be, and with 3 and the findings when it is not what it claims to be.
"""

import json
import sys

from observer.control import ask, await_room

START_S = 30.0
BROKEN = 3

kind, pods = sys.argv[1:]
for phone in ("alice", "bob"):
    await_room(phone, START_S)
    ask(phone, {"do": "leave"})  # what was registered through a router that is none any more leads nowhere
became = ask("nat", {"do": "set", "kind": kind})
if "refused" in became:
    print(became["refused"], file=sys.stderr)
    sys.exit(became["exit"])
for tap in ("nat", "proxy", "core"):
    ask(f"tap-{tap}", {"folder": "/lab/before"})  # what passed before passed another router: it belongs to no run
for pod in pods.split(","):
    found = ask(pod, {"do": "measure"})
    if found["wrong"] or found["leaks"]:
        print(json.dumps(found, indent=1))
        sys.exit(BROKEN)
ask("nat", {"do": "flush"})  # the probe's sockets: Linux may give their public ports to a phone's too
