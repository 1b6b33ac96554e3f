"""The relay on real sockets: who is heard, who is not, and what is counted (RFC 3550, 4961, 7362)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import select
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from proxy.core.effects import CloseRelay, OpenRelay, SteerRelay
from proxy.core.flow import Address
from proxy.net import relay as relay_module
from proxy.net import rtp
from tests.unit.process import free_port

HOST = "127.0.0.1"
PATIENCE_S = 20.0
SSRC = 7


def packet(sequence: int, ssrc: int = SSRC, size: int = 172, timestamp: int | None = None, kind: int = 0) -> bytes:
    at = 160 * sequence if timestamp is None else timestamp
    return struct.pack(">BBHII", 0x80, kind, sequence & 0xFFFF, at & 0xFFFFFFFF, ssrc).ljust(size, b"\xd5")


class Party:
    """A socket that speaks and hears, at an address of loopback's."""

    def __init__(self, host: str = HOST, port: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, port))
        self.numbers = itertools.count(100)

    @property
    def address(self) -> Address:
        host, port = self.socket.getsockname()[:2]
        return host, port

    def say(self, to: Address, data: bytes | None = None) -> bytes:
        data = packet(next(self.numbers)) if data is None else data
        self.socket.sendto(data, to)
        return data

    async def hear(self) -> tuple[bytes, Address]:
        async with asyncio.timeout(PATIENCE_S):
            data, source = await asyncio.get_running_loop().sock_recvfrom(self.socket, 65536)
        return data, source[:2]

    def heard_nothing(self) -> bool:
        return not select.select([self.socket], [], [], 0)[0]


@dataclass(slots=True)
class House:
    relay: relay_module.Relay
    here: tuple[Address, Address]
    parties: contextlib.ExitStack
    events: list[tuple[str, dict[str, object]]]
    silent: list[int]
    caller: Party = field(init=False)
    callee: Party = field(init=False)

    def __post_init__(self) -> None:
        self.caller, self.callee = (self.party(host) for host, _ in self.here)

    def party(self, host: str = HOST, port: int = 0) -> Party:
        party = Party(host, port)
        self.parties.callback(party.socket.close)
        return party

    def steer(self, side: int, party: Party | None, host: str = "", fixed: bool = False) -> None:
        """Say where a side is; without a party: at a host, by a port that nobody knows."""
        at = None if party is None else party.address
        hosts = frozenset({host or (at[0] if at else HOST)})
        self.relay.steer(SteerRelay(1, 0, side, hosts, at, None, fixed))

    def end(self, side: int) -> rtp.End:
        return self.relay.calls[1].sections[0].rtp[side]

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():  # noqa: ASYNC110  the relay has no event for what is awaited
                await asyncio.sleep(0.002)

    async def learnt(self) -> None:
        """Have both ends know their parties."""
        self.steer(0, None)
        self.steer(1, self.callee)
        self.caller.say(self.here[0])
        await self.callee.hear()
        self.callee.say(self.here[1])
        await self.caller.hear()
        await self.until(lambda: self.end(0).source is not None and self.end(1).source is not None)


@contextlib.asynccontextmanager
async def house(host: str = HOST, other: str = HOST, timeout_s: float = 60) -> AsyncIterator[House]:
    events: list[tuple[str, dict[str, object]]] = []
    silent: list[int] = []

    def note(name: str, fields: dict[str, object]) -> None:
        events.append((name, fields))

    relay = relay_module.Relay(asyncio.get_running_loop(), lambda ip: ip, timeout_s, silent.append, note, note)
    first, second = (_free_pair() for _ in range(2))
    here = (host, first), (other, second)
    try:
        assert relay.open(OpenRelay(1, 0, b"call", b"audio", here, 8000)) == []
        with contextlib.ExitStack() as parties:
            yield House(relay, here, parties, events, silent)
    finally:
        relay.close_all()


def _free_pair() -> int:
    while True:
        port = free_port() & ~1
        if rtp.can_bind((HOST, port)) and rtp.can_bind((HOST, port + 1)):
            return port


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def test_each_hears_the_other_from_where_it_speaks_to() -> None:
    async def test() -> None:
        async with house() as here:
            here.steer(0, None)  # behind a NAT: by which port shows when it speaks
            here.steer(1, here.callee)
            said = here.caller.say(here.here[0])
            assert await here.callee.hear() == (said, here.here[1])
            said = here.callee.say(here.here[1])
            assert await here.caller.hear() == (said, here.here[0])

    run(test())


def test_one_hears_ip_version_four_and_the_other_six() -> None:
    async def test() -> None:
        async with house(HOST, "::1") as here:
            await here.learnt()
            said = here.caller.say(here.here[0])
            assert await here.callee.hear() == (said, here.here[1])

    run(test())


def test_who_speaks_first_waits_for_nobody_and_is_heard_when_the_other_is_known() -> None:
    async def test() -> None:
        async with house() as here:
            here.steer(0, None)
            here.steer(1, here.callee)
            here.callee.say(here.here[1])  # to a caller whom nobody has heard yet
            await here.until(lambda: here.end(1).direction.packets == 1)
            here.caller.say(here.here[0])
            await here.callee.hear()
            said = here.callee.say(here.here[1])
            assert await here.caller.hear() == (said, here.here[0])

    run(test())


@pytest.mark.parametrize("speaks_first", [0, 1])
def test_nothing_is_lost_of_what_both_have_said_before_the_relay_gets_its_turn(speaks_first: int) -> None:
    """A busy machine lets it stand still while the phones go on; where they are it knows from what waits."""

    async def test() -> None:
        async with house() as here:
            sides = [(here.caller, here.here[0]), (here.callee, here.here[1])]
            for side in (0, 1):
                here.steer(side, None)
            one, other = sides[speaks_first], sides[1 - speaks_first]
            said = [[packet(number, ssrc=count) for number in range(count)] for count in (3, 5)]
            for (party, to), packets in zip((one, other), said, strict=True):
                for data in packets:
                    party.say(to, data)
            assert [(await other[0].hear())[0] for _ in said[0]] == said[0]
            assert [(await one[0].hear())[0] for _ in said[1]] == said[1]
            assert (here.end(0).direction.packets, here.end(1).direction.packets) in {(3, 5), (5, 3)}
            assert here.relay.strangers == 0

    run(test())


def test_rtcp_passes_by_the_port_above() -> None:
    async def test() -> None:
        async with house() as here:
            at = here.callee.address
            for side in (0, 1):
                here.relay.steer(SteerRelay(1, 0, side, frozenset({HOST}), None, at if side else None, False))
            report = struct.pack(">BBHI", 0x80, 200, 1, SSRC)
            (host, port), (_, other) = here.here
            here.caller.say((host, port + 1), report)
            assert await here.callee.hear() == (report, (host, other + 1))

    run(test())


@pytest.mark.parametrize("size", [1, 11, 12, 1500, 2048, 2049, 9000, 65_000])
def test_every_length_passes_as_it_is(size: int) -> None:
    async def test() -> None:
        async with house() as here:
            await here.learnt()
            said = here.caller.say(here.here[0], bytes(range(256)) * (size // 256) + bytes(size % 256))
            assert (await here.callee.hear())[0] == said

    run(test())


def test_an_empty_datagram_harms_nobody() -> None:
    async def test() -> None:
        async with house() as here:
            await here.learnt()
            here.caller.say(here.here[0], b"")
            said = here.caller.say(here.here[0])
            assert [(await here.callee.hear())[0] for _ in range(2)] == [b"", said]

    run(test())


# Strangers


def test_a_stranger_is_refused_before_the_party_has_come_and_after() -> None:
    async def test() -> None:
        async with house() as here:
            stranger = here.party("127.0.0.2")
            here.steer(0, None, host=HOST)
            here.steer(1, here.callee)
            stranger.say(here.here[0])
            await here.until(lambda: here.relay.strangers == 1)
            await here.learnt()
            stranger.say(here.here[0])
            await here.until(lambda: here.relay.strangers == 2)
            said = here.caller.say(here.here[0])
            assert await here.callee.hear() == (said, here.here[1])  # and nothing else came before it
            assert [name for name, _ in here.events] == ["media-refused"]  # once for each port

    run(test())


def test_whoever_has_the_address_of_the_party_is_a_stranger_once_it_has_spoken() -> None:
    """Two behind one NAT: the first who speaks is the party, until the engine lets the relay learn anew."""

    async def test() -> None:
        async with house() as here:
            await here.learnt()
            other = here.party()
            other.say(here.here[0], packet(1, ssrc=9))
            await here.until(lambda: here.relay.strangers == 1)
            here.steer(0, None)  # a re-INVITE
            await here.until(lambda: time.monotonic() - here.end(0).direction.seen > rtp.QUIET_S)
            said = other.say(here.here[0], packet(2, ssrc=9))
            assert await here.callee.hear() == (said, here.here[1])
            here.caller.say(here.here[0])
            await here.until(lambda: here.relay.strangers == 2)
            here.callee.say(here.here[1])
            await other.hear()
            assert here.caller.heard_nothing()

    run(test())


def test_what_a_stranger_sent_before_the_party_came_is_not_taken_for_its() -> None:
    async def test() -> None:
        async with house() as here:
            stranger = here.party("127.0.0.2")
            here.steer(0, None, host=HOST)
            here.steer(1, here.callee)
            for _ in range(100):  # all in the queue, on both sides of the party's first
                stranger.say(here.here[0])
            said = here.caller.say(here.here[0])
            for _ in range(100):
                stranger.say(here.here[0])
            again = here.caller.say(here.here[0])
            assert (await here.callee.hear())[0] == said
            assert (await here.callee.hear())[0] == again
            await here.until(lambda: here.relay.strangers >= 190)  # a small queue may lose some of the later ones

    run(test())


def test_a_party_that_moves_is_known_by_what_it_says_next() -> None:
    async def test() -> None:
        async with house() as here:
            await here.learnt()
            moved = here.party("127.0.0.3")  # a rebound NAT: another address, the next number of the same source
            await here.until(lambda: time.monotonic() - here.end(0).direction.seen > rtp.QUIET_S)
            said = moved.say(here.here[0], packet(102))
            assert await here.callee.hear() == (said, here.here[1])
            said = here.callee.say(here.here[1])
            assert await moved.hear() == (said, here.here[0])
            assert ("media-moved", {"call_id": b"call", "to": "%s:%d" % moved.address}) in here.events

    run(test())


def test_the_rtcp_of_a_party_that_has_moved_comes_from_there_too() -> None:
    async def test() -> None:
        async with house() as here:
            await here.learnt()
            (host, port), (_, other) = here.here
            at = here.callee.address
            here.relay.steer(SteerRelay(1, 0, 1, frozenset({HOST}), at, at, False, 8000))
            report = struct.pack(">BBHI", 0x80, 200, 1, SSRC)
            here.caller.say((host, port + 1), report)
            assert await here.callee.hear() == (report, (host, other + 1))
            rtcp = here.end(0).companion
            quiet = [here.end(0).direction, rtcp.direction]
            await here.until(lambda: time.monotonic() - max(each.seen for each in quiet) > rtp.QUIET_S)
            moved = here.party("127.0.0.3")
            moved.say((host, port + 1), report)
            await here.until(lambda: rtcp.strangers == 1)  # it has not said anything by RTP yet
            said = moved.say((host, port), packet(102))
            assert (await here.callee.hear())[0] == said
            moved.say((host, port + 1), report)
            assert await here.callee.hear() == (report, (host, other + 1))

    run(test())


@pytest.mark.parametrize("data", [packet(102, ssrc=8), packet(100), packet(100 + 3001), packet(102)[:11], b"\x00" * 40])
def test_nobody_else_is_taken_for_a_party_that_has_moved(data: bytes) -> None:
    async def test() -> None:
        async with house() as here:
            await here.learnt()
            await here.until(lambda: time.monotonic() - here.end(0).direction.seen > rtp.QUIET_S)
            here.party("127.0.0.3").say(here.here[0], data)
            await here.until(lambda: here.relay.strangers == 1)
            assert here.callee.heard_nothing()

    run(test())


def test_a_party_that_still_speaks_has_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtp, "QUIET_S", 3600.0)

    async def test() -> None:
        async with house() as here:
            await here.learnt()
            here.party("127.0.0.3").say(here.here[0], packet(102))
            await here.until(lambda: here.relay.strangers == 1)
            assert here.callee.heard_nothing()

    run(test())


def test_after_a_reinvite_nobody_takes_the_place_of_a_party_that_still_speaks(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session refresh is a re-INVITE too: behind one NAT any neighbour could have the call ever after."""
    monkeypatch.setattr(rtp, "QUIET_S", 3600.0)

    async def test() -> None:
        async with house() as here:
            await here.learnt()
            here.steer(0, None)
            here.party().say(here.here[0], packet(1, ssrc=9))
            await here.until(lambda: here.relay.strangers == 1)
            said = here.caller.say(here.here[0])
            assert await here.callee.hear() == (said, here.here[1])

    run(test())


def test_a_flood_of_strangers_holds_up_no_packet_of_the_party() -> None:
    async def test() -> None:
        async with house() as here:
            await here.learnt()
            stranger = here.party("127.0.0.2")
            for _ in range(50):
                for _ in range(400):
                    stranger.say(here.here[0])
                said = here.caller.say(here.here[0])
                assert (await here.callee.hear())[0] == said
            assert here.end(0).direction.lost == 0
            assert 0 < here.relay.strangers < 2000  # of 20,000: the kernel dropped what nobody listened to

    run(test())


FLOOD = """
import socket, sys, time
sock, target, data = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), ("127.0.0.1", int(sys.argv[1])), bytes(172)
sock.bind(("127.0.0.2", 0))
began, sent = time.perf_counter(), 0
while (passed := time.perf_counter() - began) < 3:
    while sent < 20_000 * passed:
        sock.sendto(data, target)
        sent += 1
    time.sleep(0.0005)  # pacing
print(sent)
"""


@pytest.mark.alone
def test_a_call_survives_20000_packets_of_rubbish_a_second() -> None:
    async def test() -> None:
        async with house() as here:
            await here.learnt()
            flood = await asyncio.create_subprocess_exec(
                sys.executable, "-c", FLOOD, str(here.here[0][1]), stdout=asyncio.subprocess.PIPE
            )
            await here.until(lambda: here.relay.strangers > 0)
            for _ in range(100):  # two seconds of the three
                said = here.caller.say(here.here[0])
                assert (await here.callee.hear())[0] == said
                said = here.callee.say(here.here[1])
                assert (await here.caller.hear())[0] == said
                await asyncio.sleep(0.02)  # as a phone speaks
            told, _ = await flood.communicate()
            assert int(told) > 50_000  # and not a trickle
            assert here.relay.strangers < 1000

    run(test())


def test_a_party_that_wants_its_media_elsewhere_gets_it_there() -> None:
    async def test() -> None:
        async with house() as here:
            ear = here.party()
            here.steer(0, None)
            here.relay.steer(SteerRelay(1, 0, 1, frozenset({HOST}), ear.address, None, True))
            here.callee.say(here.here[1])  # it speaks from another port than it hears at
            said = here.caller.say(here.here[0])
            assert (await ear.hear())[0] == said
            await here.until(lambda: here.end(1).source == here.callee.address)
            said = here.caller.say(here.here[0])
            assert await ear.hear() == (said, here.here[1])
            ear2 = here.party()
            here.relay.steer(SteerRelay(1, 0, 1, frozenset({HOST}), ear2.address, None, True))
            said = here.caller.say(here.here[0])
            assert await ear2.hear() == (said, here.here[1])

    run(test())


# What is counted


def test_what_was_lost_is_known_by_the_numbers() -> None:
    direction = rtp.Direction(8000)

    def came(*sequences: int, ssrc: int = SSRC, kind: int = 0) -> int:
        for sequence in sequences:
            rtp._BUFFER[:172] = packet(sequence, ssrc, kind=kind)
            direction.count(172, sequence / 50)
        return direction.lost

    assert came(65_530, 65_531) == 0
    assert came(65_533) == 1
    assert came(65_532) == 0  # late, and not lost
    assert came(3) == 5  # 65,534, 65,535, 0, 1, 2
    assert came(4, kind=200) == 5  # RTCP by the same port has no number
    assert came(5_000, ssrc=9) == 5  # another source begins anew; what was lost is lost
    assert came(5_002, ssrc=9) == 6
    assert direction.packets == 8
    assert direction.bytes == 8 * 172


def test_jitter_is_how_much_the_distances_vary() -> None:
    def jitter(*times: float, timestamps: list[int] | None = None) -> float:
        direction = rtp.Direction(8000)
        for number, at in enumerate(times):
            stamp = 160 * number if timestamps is None else timestamps[number]
            rtp._BUFFER[:172] = packet(number, timestamp=stamp)
            direction.count(172, 1000 + at)
        return direction.jitter_ms

    even = [0.02 * number for number in range(200)]
    assert jitter(*even) == pytest.approx(0, abs=1e-6)
    assert jitter(*(at + 0.004 * (number % 2) for number, at in enumerate(even))) == pytest.approx(4, rel=0.01)
    assert jitter(0, 0.02, 0.04, timestamps=[2**32 - 320, 2**32 - 160, 0]) == pytest.approx(0, abs=1e-6)  # begins anew


def test_jitter_is_by_the_clock_that_was_agreed_on_last() -> None:
    """An offer's first format has 48000 Hz, the answer's 8000: by the wrong clock even packets vary by 17 ms."""

    async def test() -> None:
        async with house() as here:
            for rate in (48_000, 8000):
                here.relay.steer(SteerRelay(1, 0, 1, frozenset({HOST}), None, None, False, rate))
                for side in (0, 1):
                    direction = here.end(side).direction
                    for sequence in range(200):
                        rtp._BUFFER[:172] = packet(sequence, timestamp=rate // 50 * sequence)
                        direction.count(172, 1000 + sequence / 50)
                    assert direction.jitter_ms == pytest.approx(0, abs=1e-3)

    run(test())


def test_a_call_that_ends_is_told_in_one_line() -> None:
    async def test() -> None:
        async with house() as here:
            await here.learnt()
            here.caller.say(here.here[0], packet(103))
            await here.callee.hear()
            here.relay.close(CloseRelay(1, "hung-up"))
            name, told = here.events[-1]
            assert name == "media-ended"
            wanted = {
                "call_id": b"call", "why": "hung-up", "caller_packets": 2, "caller_bytes": 344, "caller_lost": 2,
                "callee_packets": 1, "callee_bytes": 172, "callee_lost": 0, "strangers": 0,
            }  # fmt: skip
            assert told.items() >= wanted.items()
            counts = here.relay.counts()
            assert counts["relay-caller-packets"] == 2
            assert counts["relay-sessions"] == 0
            assert not here.relay.readers
            here.relay.close(CloseRelay(1, "hung-up"))

    run(test())


def test_a_port_that_is_taken_leaves_none_open() -> None:
    async def test() -> None:
        async with house() as here:
            taken = here.party()
            port = taken.address[1] & ~1
            before = len(here.relay.readers)
            wanted = OpenRelay(2, 0, b"other", b"audio", ((HOST, _free_pair()), (HOST, port)), 8000)
            assert here.relay.open(wanted) == [port]
            assert len(here.relay.readers) == before
            here.relay.steer(SteerRelay(2, 0, 0, frozenset({HOST}), None, None, False))
            here.relay.close(CloseRelay(2, "port-taken"))

    run(test())


def test_silence_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "LOOK_S", 0.02)

    async def test() -> None:
        async with house(timeout_s=0.2) as here:
            await here.until(lambda: 1 in here.silent)

    run(test())


# What the machine refuses


def test_without_a_descriptor_left_a_party_is_learnt_with_its_next_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with house() as here:
            here.steer(0, None)
            here.steer(1, here.callee)
            bound = rtp.bound

            def refuse(here: Address, buffer_bytes: int = 0) -> socket.socket:
                raise OSError(errno.EMFILE, "Too many open files")

            monkeypatch.setattr(relay_module, "bound", refuse)
            here.caller.say(here.here[0])
            await here.until(lambda: here.relay.unsent == 1)
            monkeypatch.setattr(relay_module, "bound", bound)
            said = here.caller.say(here.here[0])
            assert await here.callee.hear() == (said, here.here[1])
            said = here.callee.say(here.here[1])
            assert await here.caller.hear() == (said, here.here[0])

    run(test())


def test_whatever_fails_in_one_turn_the_next_one_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with house() as here:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            await here.learnt()
            counted, steps = rtp.Direction.count, ["say another", "fail"]

            def count(self: rtp.Direction, size: int, now: float) -> None:
                step = steps.pop(0) if steps else "count"
                if step == "say another":  # it comes while we look every 2 ms
                    here.caller.say(here.here[0])
                if step == "fail":
                    raise ArithmeticError
                counted(self, size, now)

            monkeypatch.setattr(rtp.Direction, "count", count)
            first = here.caller.say(here.here[0])
            assert (await here.callee.hear())[0] == first
            await here.until(lambda: not steps)
            said = here.caller.say(here.here[0])
            assert (await here.callee.hear())[0] == said

    run(test())


def test_ports_that_cannot_be_opened_for_want_of_descriptors_are_not_somebody_elses(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with house() as here:
            bound = rtp.bound

            def refuse(at: Address, buffer_bytes: int = 0) -> socket.socket:
                if at[1] & 1:
                    raise OSError(errno.EMFILE, "Too many open files")
                return bound(at, buffer_bytes)

            monkeypatch.setattr(rtp, "bound", refuse)
            before = len(here.relay.readers)
            with pytest.raises(OSError, match="Too many"):
                here.relay.open(OpenRelay(2, 0, b"other", b"audio", ((HOST, _free_pair()), (HOST, _free_pair())), 8000))
            assert len(here.relay.readers) == before

    run(test())


def test_a_refusal_by_the_party_lets_no_stranger_in() -> None:
    """ICMP says that nobody is at the party's port while strangers' packets wait in our queue: they stay strangers'."""

    async def test() -> None:
        async with house() as here:
            stranger = here.party("127.0.0.2")
            here.steer(0, None, host=HOST)
            here.steer(1, here.callee)
            said = here.caller.say(here.here[0])
            for _ in range(80):  # more than are looked at in one turn
                stranger.say(here.here[0])
            here.callee.say(here.here[1])
            here.caller.socket.close()
            for _ in range(40):
                await asyncio.sleep(relay_module.PACE_S)
                here.callee.say(here.here[1])
            await here.until(lambda: here.relay.strangers >= 70)
            assert await here.callee.hear() == (said, here.here[1])
            assert here.callee.heard_nothing()

    run(test())


def test_a_refusal_of_one_packet_swallows_not_the_next() -> None:
    """The kernel tells of the first one's ICMP when the second is sent, and does not send that."""

    async def test() -> None:
        async with house() as here:
            await here.learnt()
            address = here.callee.address
            here.callee.socket.close()
            here.caller.say(here.here[0])
            here.end(0).pass_on()
            here.callee = here.party(*address)
            said = here.caller.say(here.here[0])
            here.end(0).pass_on()
            assert await here.callee.hear() == (said, here.here[1])
            assert here.relay.unsent == 0

    run(test())


def test_a_picture_passes_without_waiting_for_a_turn_for_each_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A party may send more than one packet a turn: one picture of a video is a hundred at once."""

    async def test() -> None:
        async with house() as here:
            await here.learnt()
            turns, turn = itertools.count(), relay_module.Relay._look_again

            def count(self: relay_module.Relay, is_busy: bool) -> None:
                next(turns)
                turn(self, is_busy)

            monkeypatch.setattr(relay_module.Relay, "_look_again", count)
            for _ in range(96):
                here.caller.say(here.here[0])
            await here.until(lambda: here.end(0).direction.packets >= 97)
            assert next(turns) <= 14

    run(test())


def test_a_sequence_that_begins_anew_is_not_thousands_lost() -> None:
    """RFC 3550 §A.1: some phones number anew after hold, and keep their SSRC."""
    direction = rtp.Direction(8000)
    for sequence, lost in ((10, 0), (11, 0), (13, 1), (40_000, 1), (40_002, 2), (100, 2), (102, 3), (101, 2), (103, 2)):
        rtp._BUFFER[:172] = packet(sequence)
        direction.count(172, 1.0)
        assert direction.lost == lost


def test_port_0_is_nobodys() -> None:
    """To be connected to it is to hear every port of the host."""

    async def test() -> None:
        async with house() as here:
            here.steer(0, None)
            assert not here.end(0)._learn((HOST, 0))
            assert here.end(0).source is None
            await here.learnt()

    run(test())
