"""The live page: `GET /` is the page, `GET /events` what happens, as server-sent events. Nobody looks: nothing runs.

Whoever asks by a name that is not this machine's is refused: a page from elsewhere whose name suddenly means this
address (DNS rebinding) would otherwise read all calls.
"""

from __future__ import annotations

import json
import os
import queue
import re
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from observer.control import until_stopped
from observer.topology import Topology, from_environment
from observer.view import schema

PORT = 8080
STEP_S = 0.08  # between two looks: an arrow is drawn within half a second of its packet
SHARE = 2  # when a look takes long, so many times as long passes until the next: calls come first
LINGER_S = 5.0  # a reload of the page is no end
MOST_WATCHERS, MOST_WAITING = 16, 60
PING_S = 10.0
_HERE = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)


class Desk:
    """Those who look, and what they look at."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._watchers: list[queue.Queue[str]] = []
        self._new: list[queue.Queue[str]] = []  # those who have not had the whole view yet
        self._lock = threading.Lock()
        self._wanted = threading.Event()

    def join(self) -> queue.Queue[str] | None:
        """Look: return where the events will come; None when too many look already."""
        with self._lock:
            if len(self._watchers) >= MOST_WATCHERS:
                return None
            waiting: queue.Queue[str] = queue.Queue(MOST_WAITING)
            self._watchers.append(waiting)
            self._new.append(waiting)
        self._wanted.set()
        return waiting

    def leave(self, waiting: queue.Queue[str]) -> None:
        """Look no more."""
        with self._lock:
            self._watchers.remove(waiting)
            if waiting in self._new:
                self._new.remove(waiting)

    def run(self) -> None:
        """Serve those who look, for ever."""
        while True:
            self._wanted.wait()
            self._wanted.clear()
            self._watch()

    def _watch(self) -> None:
        from observer.view.live import Live  # ten containers start at once: not before somebody looks

        live = Live(self._topology)
        try:
            last = time.monotonic()
            while self._watchers or time.monotonic() - last < LINGER_S:
                if self._watchers:
                    last = time.monotonic()
                began = time.monotonic()
                news = live.step()
                self._tell(live.whole() if self._new else None, news)
                time.sleep(max(STEP_S, SHARE * (time.monotonic() - began)))  # pacing of a poll
        finally:
            live.end()

    def _tell(self, whole: schema.View | None, news: schema.View | None) -> None:
        with self._lock:
            for waiting in self._watchers:
                try:
                    if waiting in self._new:
                        if whole is not None:
                            waiting.put_nowait(_event("whole", whole))
                            self._new.remove(waiting)
                    elif news is not None:
                        waiting.put_nowait(_event("news", news))
                except queue.Full:  # too slow: it gets the whole, when it has caught up
                    while not waiting.empty():
                        waiting.get_nowait()
                    self._new.append(waiting)


def _event(name: str, view: schema.View) -> str:
    return f"event: {name}\ndata: {json.dumps(view, separators=(',', ':'))}\n\n"


class Handler(BaseHTTPRequestHandler):
    """One who asks."""

    desk: Desk
    server_version, sys_version = "lab", ""
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        """Answer."""
        if not _HERE.fullmatch(self.headers.get("Host", "")):
            self.send_error(HTTPStatus.FORBIDDEN, "this page is for whoever sits here: http://localhost")
        elif self.path == "/":
            self._page()
        elif self.path == "/events":
            self._events()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _page(self) -> None:
        from observer.view import page
        from observer.view.model import empty

        content = page.render(empty(), live=True).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", page.policy(live=True) + "; frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def _events(self) -> None:
        desk = self.desk
        waiting = desk.join()
        if waiting is None:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "too many look already")
            return
        try:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            while True:
                try:
                    said = waiting.get(timeout=PING_S)
                except queue.Empty:
                    said = ": still here\n\n"  # else nobody would notice that who looked has gone
                self.wfile.write(said.encode())
        except OSError:
            pass
        finally:
            desk.leave(waiting)

    def log_message(self, *_: object) -> None:
        """Say nothing: who looks is nobody's business."""


def main(_: Sequence[str]) -> int:
    """Serve until SIGTERM."""
    desk = Desk(from_environment(os.environ))
    Handler.desk = desk
    server = ThreadingHTTPServer(("", PORT), Handler)
    server.daemon_threads = True
    threading.Thread(target=desk.run, daemon=True).start()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    until_stopped()
    return 0
