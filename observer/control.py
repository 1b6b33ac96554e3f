"""How phones, taps and the observer talk: one JSON line each way on a Unix socket in the shared volume.

The lab's networks carry the calls and nothing else; what is said here can never be mistaken for one.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOM = Path("/lab")
SERVING = Path("/tmp/serving")  # what health checks ask for: a socket in the volume outlives who made it
PATIENCE_S = 120.0  # the longest that anybody works on one request, if he does not say otherwise

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


def serve(name: str, answer: Callable[[Request], Request]) -> None:
    """Answer requests on NAME.sock, one at a time, for ever. The socket appears when requests can be made."""
    path = ROOM / f"{name}.sock"
    unready = path.with_suffix(".new")  # a bound socket refuses until it listens, and readiness is asked of the name
    unready.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(unready))
        unready.chmod(0o666)  # the lab's containers run as different users
        listener.listen()
        unready.replace(path)
        SERVING.touch()
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
