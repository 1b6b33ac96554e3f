"""Which worker a message belongs to, and how workers tell each other."""

from __future__ import annotations

import asyncio
import marshal
from collections import Counter
from typing import Any

import pytest

from proxy.core.effects import Record
from proxy.core.flow import Flow
from proxy.core.location import Location
from proxy.net import mesh as module
from proxy.net.mesh import Mesh, owner_of
from proxy.net.team import Team, TeamJournal

HEAD = b"BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n"


@pytest.mark.parametrize(
    "line",
    [b"Call-ID: x@h", b"call-id:x@h", b"CALL-ID : x@h", b"i: x@h", b"I:x@h", b"Call-ID:\t x@h ", b"Call-ID: x@h\t"],
)
def test_all_messages_of_a_call_belong_to_one_worker_however_they_are_written(line: bytes) -> None:
    for start in (b"INVITE sip:a@b SIP/2.0", b"SIP/2.0 200 OK"):
        for count in (1, 2, 3, 7):
            whole = b"%b\r\nVia: v\r\n%b\r\nCSeq: 1 INVITE\r\n\r\nv=0\r\n" % (start, line)
            assert owner_of(whole, count) == owner_of(HEAD + b"Call-ID: x@h\r\n\r\n", count)


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"\0\1\0\0", HEAD + b"\r\n", HEAD + b"X-Call-ID: x\r\n\r\n"])
def test_what_has_no_call_id_is_his_who_has_it(data: bytes) -> None:
    assert owner_of(data, 4) is None


def test_answers_of_phones_that_are_kept_alive_are_the_first_workers() -> None:
    assert {owner_of(HEAD + b"Call-ID: alive-%d-1@h\r\n\r\n" % number, 4) for number in range(100)} == {0}


@pytest.mark.parametrize("count", [2, 3, 4])
def test_calls_are_shared_out_evenly(count: int) -> None:
    calls = 3000
    shares = Counter(owner_of(HEAD + b"Call-ID: %d-77@192.168.1.5\r\n\r\n" % number, count) for number in range(calls))
    assert set(shares) == set(range(count))
    for share in shares.values():
        assert abs(share * count / calls - 1) < 0.1


@pytest.fixture
def two() -> Mesh:
    """A mesh of two, seen by the first; the other's ear is open here too."""
    return Mesh(2)


def heard(mesh: Mesh) -> list[tuple[Any, ...]]:
    """Return what has arrived at the other's ear."""
    found = []
    while True:
        try:
            found.append(marshal.loads(mesh._ears[1].recv(module.LONGEST)))
        except BlockingIOError:
            return found


def test_what_is_said_arrives_whole_and_in_order_however_slow_the_other_is(two: Mesh) -> None:
    async def test() -> None:
        arrived: list[tuple[Any, ...]] = []
        for number in range(5000):  # far more than the kernel takes
            two.say(1, "number", number, b"x" * 1000)
        assert two._waiting[1]
        while len(arrived) < 5000:
            arrived += heard(two)
            await asyncio.sleep(0)
        assert arrived == [("number", number, b"x" * 1000) for number in range(5000)]
        assert two.lost == 0
        two._ears[1].close()
        two.close()

    asyncio.run(test())


def test_messages_from_the_network_are_lost_where_a_worker_has_no_time_and_counted(two: Mesh) -> None:
    async def test() -> None:
        sent = 0
        while not two.lost:
            two.pass_on(1, "message", sent)
            sent += 1
            assert len(two._waiting[1]) <= module.MOST_WAITING
        two.say(1, "must", "arrive")
        arrived: list[tuple[Any, ...]] = []
        while ("must", "arrive") not in arrived:
            arrived += heard(two)
            await asyncio.sleep(0)
        assert arrived == [*(("message", number) for number in range(sent - 1)), ("must", "arrive")]
        two._ears[1].close()
        two.close()

    asyncio.run(test())


def test_to_one_who_has_ended_nothing_is_said_and_nothing_fails(two: Mesh) -> None:
    async def test() -> None:
        two.become(0)  # lets go of the other's ear, which nobody else has here
        two.say(1, "anybody?")
        two.say_all("anybody?")
        assert two.lost == 2
        two.close()

    asyncio.run(test())


def test_a_worker_hears_what_it_is_told(two: Mesh) -> None:
    async def test() -> None:
        got: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        two.listen(lambda *what: got.put_nowait(what))
        two.say(0, "message", b"data", ("udp", ("h", 5060), ("::1", 1), 0), 1.5, None, True)
        assert await got.get() == ("message", b"data", ("udp", ("h", 5060), ("::1", 1), 0), 1.5, None, True)
        two._ears[1].close()
        two.close()

    asyncio.run(test())


def test_who_registered_with_another_worker_is_known_before_he_is_called(two: Mesh) -> None:
    """What was said is heard before a message is seen to, though the loop has not come to it."""

    async def test() -> None:
        location = Location()
        team = Team(two, None, location, TeamJournal(two, location, None, is_kept=False))  # type: ignore[arg-type]
        record = Record(
            7, b"bob", b"sip:bob@h", 4e9, 1000, b"c", 1, b"", 0, b"", "udp", "10.0.0.1", 5060, "10.0.0.2", 5060, False
        )
        two.say(0, "save", tuple(record), 0)
        own = next(data for data in (HEAD + b"Call-ID: %d\r\n\r\n" % n for n in range(99)) if owner_of(data, 2) == 0)
        assert not team.passes_on(own, Flow("udp", ("10.0.0.1", 5060), ("10.0.0.3", 5060)))
        assert [binding.id for binding in location.bindings(b"bob", 0.0) or []] == [7]
        two._ears[1].close()
        team.close()

    asyncio.run(test())
