"""In Bob's container: `COUNT`: judge so many runs in which Alice registers all the time; print what is told of them."""

import sys
import threading
import time

from observer.control import ask

(count,) = sys.argv[1:]
over = threading.Event()


def register() -> None:
    while not over.is_set():
        ask("alice", {"do": "register"})


busy = threading.Thread(target=register)
busy.start()
for _ in range(int(count)):
    print(ask("observer", {"run": f"{time.monotonic_ns():x}", "legs": [], "began": 0})["ladder"])
over.set()
busy.join()
