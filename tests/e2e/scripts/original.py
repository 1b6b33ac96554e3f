"""In Bob's container: `WAN`: Alice's router has its first public address and ports again, and is a good network."""

import sys

from observer.control import ask

(wan,) = sys.argv[1:]
ask("nat", {"do": "clear"})
ask("nat", {"do": "set", "kind": "home"})  # one that has no ports and no address to change refuses what follows
if f"public address {wan}\n" not in ask("nat", {"do": "show"})["text"]:
    ask("nat", {"do": "change-ip"})
events = ask("nat", {"do": "history"})["events"]
rebinds = [event["text"] for event in events if event["event"] == "verb" and event["verb"] == "rebind"]
if rebinds and not rebinds[-1].endswith(" 50000"):
    ask("nat", {"do": "rebind"})
