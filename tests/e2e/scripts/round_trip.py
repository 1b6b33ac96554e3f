"""In Alice's pod: how long the reflector's answers take. Prints one line for each question: milliseconds, `lost`, or
`late`: on a busy machine an answer may come when the next question has been asked."""

import os
import sys
import time

from nat.probe import sockets_of
from nat.prober import Heard, Prober

PATIENCE_S, LAST_S = 0.2, 1.0
reflectors = sockets_of([os.environ["REFLECTOR_IP"], os.environ["REFLECTOR_IP2"]])
others: Heard = []
found: dict[str, str] = {}
with Prober(reflectors, os.environ["PHONE_IP"]) as asker:
    for _ in range(int(sys.argv[1])):
        began = time.monotonic()
        number = asker.send(0, ask="where")
        answer = asker.wait(number, others, PATIENCE_S)
        found[number] = "lost" if answer is None else f"{1000 * (time.monotonic() - began):.1f}"
    asker.wait("", others, LAST_S)
for other, _where in others:
    number = str(other.get("id"))
    if found.get(number) == "lost" and "seen" in other:
        found[number] = "late"
print(*found.values(), sep="\n")
