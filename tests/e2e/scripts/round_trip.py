"""In Alice's pod: how long the reflector's answers take. Prints one line for each question: milliseconds, or `lost`."""

import os
import sys
import time

from nat.probe import sockets_of
from nat.prober import Prober

PATIENCE_S = 0.2
reflectors = sockets_of([os.environ["REFLECTOR_IP"], os.environ["REFLECTOR_IP2"]])
with Prober(reflectors, os.environ["PHONE_IP"]) as asker:
    for _ in range(int(sys.argv[1])):
        began = time.monotonic()
        answer = asker.wait(asker.send(0, ask="where"), [], PATIENCE_S)
        print("lost" if answer is None else f"{1000 * (time.monotonic() - began):.1f}")
