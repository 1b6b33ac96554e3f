"""In Bob's container: `NAME...`: each phone registers; again where no answer came in time, on a busy machine."""

import sys
import time

from observer.control import ask

REGISTERED_S = 30.0

deadline = time.monotonic() + REGISTERED_S
for name in sys.argv[1:]:
    while not ask(name, {"do": "register"})["registered"]:
        if time.monotonic() > deadline:
            sys.exit(f"{name} is not registered")
