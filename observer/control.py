"""How phones, taps and the observer talk: one JSON line each way on a Unix socket in the shared volume.

The lab's networks carry the calls and nothing else; what is said here can never be mistaken for one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

ROOM = Path("/lab")
SERVING = Path("/tmp/serving")  # what health checks ask for: a socket in the volume outlives who made it
PATIENCE_S = 120.0  # the longest that anybody works on one request, if he does not say otherwise
MANY = 8  # requests at the same time, by those who answer more than one: nobody has so many who ask

Request = dict[str, Any]


def ask(name: str, request: Request, patience: float = PATIENCE_S) -> Request:
    """Send a request to NAME.sock and return its answer. Raises OSError when nobody is there or no answer comes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(patience)
        client.connect(str(ROOM / f"{name}.sock"))
        with client.makefile("rw", encoding="utf-8") as lines:
            lines.write(json.dumps(request) + "\n")
            lines.flush()
            line = lines.readline()
    if not line:
        raise ConnectionError(f"{name} gave no answer to {request}")
    answer: Request = json.loads(line)
    if "error" in answer:
        raise ConnectionError(f"{name} failed: {answer['error']}")
    return answer


def await_room(name: str, seconds: float) -> None:
    """Return when somebody answers on NAME.sock. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not _answers(name):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} has not come within {seconds:.0f} s")
        time.sleep(0.02)  # pacing of a poll, with a deadline


def _answers(name: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(str(ROOM / f"{name}.sock"))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def turn(what: str) -> Iterator[None]:
    """Be the only one in the lab who does this, for as long as the context lasts; whoever comes later waits."""
    with (ROOM / f"{what}.turn").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{what}: it is somebody else's turn; waiting", file=sys.stderr, flush=True)
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def serve(name: str, answer: Callable[[Request], Request], at_once: int = 1) -> None:
    """Answer requests on NAME.sock for ever. The socket appears when requests can be made.

    `at_once`: how many at the same time, each in a thread of its own; with more than one `answer` has its own locks.
    """
    path = ROOM / f"{name}.sock"
    unready = path.with_suffix(".new")  # a bound socket refuses until it listens, and readiness is asked of the name
    unready.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(unready))
        unready.chmod(0o666)  # the lab's containers run as different users
        listener.listen()
        unready.replace(path)
        SERVING.touch()
        for _ in range(at_once - 1):
            threading.Thread(target=_serve_one_by_one, args=(listener, answer), daemon=True).start()
        _serve_one_by_one(listener, answer)


def _serve_one_by_one(listener: socket.socket, answer: Callable[[Request], Request]) -> NoReturn:
    while True:
        client, _ = listener.accept()
        # Who asked may have gone, or only looked whether somebody is here: the next one is served all the same.
        with contextlib.suppress(OSError, UnicodeError), client, client.makefile("rw", encoding="utf-8") as lines:
            line = lines.readline()
            if line:
                lines.write(json.dumps(_reply(line, answer)) + "\n")


def _reply(line: str, answer: Callable[[Request], Request]) -> Request:
    try:
        return answer(json.loads(line))
    except Exception as error:  # whatever goes wrong here, the one who asks is told
        traceback.print_exc()
        return {"error": repr(error)}


def until_stopped() -> None:
    """Return when SIGTERM or SIGINT comes: process 1 of a container gets only the signals that it asks for."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()
