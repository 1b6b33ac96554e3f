"""Run in a softphone's container: `NAME` calls alice and hangs up; prints what the phone counted."""

import json
import sys

from observer.control import ask

call = {"do": "place", "to": "alice", "count": 1, "at_once": False, "hangup": "caller"}
print(json.dumps(ask(sys.argv[1], call)))
