"""Runs the engine on real sockets and a real clock: datagrams in, effects out, until a signal ends it."""

from __future__ import annotations

import asyncio
import signal
import time

from proxy.core.effects import Send
from proxy.core.engine import Engine
from proxy.core.flow import Address, Flow
from proxy.log import Log
from proxy.net.udp import UdpSocket

STRANGERS = frozenset(("message-dropped", "request-refused"))


class Shell:
    """Carries out what the engine wants, on one UDP socket."""

    def __init__(self, engine: Engine, udp: UdpSocket, here: Address, log: Log) -> None:
        self._engine = engine
        self._udp = udp
        self._here = here
        self._log = log

    def receive(self, data: bytes, source: Address) -> None:
        """Give one datagram to the engine and carry out its effects, in order."""
        for effect in self._engine.receive(data, Flow("udp", self._here, source), time.monotonic()):
            if isinstance(effect, Send):
                failure = self._udp.send(effect.data, effect.flow.remote)
                if failure is not None:
                    self._engine.counts["send-failures"] += 1
                    self._log.strange("send-failed", {"flow": effect.flow, "why": failure})
            elif effect.name in STRANGERS:
                self._log.strange(effect.name, effect.fields)
            else:
                self._log.event(effect.name, effect.fields)

    async def run(self, greeting: list[str]) -> None:
        """Serve until SIGINT or SIGTERM; the greeting is written when a signal would already stop us cleanly."""
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        loop.add_reader(self._udp.socket, self._udp.drain, self.receive)
        for line in greeting:
            self._log.line(line)
        await stopped.wait()
        loop.remove_reader(self._udp.socket)
        self._udp.close()
        counts = " ".join(f"{name}={count}" for name, count in sorted(self._engine.counts.items()))
        self._log.line(f"SIP proxy stopped {counts}".rstrip())
