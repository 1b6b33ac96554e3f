"""Which worker a message belongs to, and how workers tell each other."""

from __future__ import annotations

import asyncio
import marshal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.effects import Record, Send
from proxy.core.flow import Flow
from proxy.core.location import Location
from proxy.net import mesh as module
from proxy.net.mesh import Mesh, owner_of
from proxy.net.team import Team, TeamJournal

PATIENCE_S = 20
HEAD = b"BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"Call-ID: x@h", b"call-id:x@h", b"Call-ID:\r\n x@h", b"i:\r\n\t x@h", b"CALL-ID : x@h", b"i: x@h", b"I:x@h",
        b"Call-ID:\t x@h ", b"Call-ID: x@h\t",
    ],
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


def heard(wire: module._Wire) -> list[tuple[Any, ...]]:
    """Return what is at the other's ear now."""
    found = []
    while True:
        try:
            found.append(marshal.loads(wire.ears[1].recv(module.LONGEST)))
        except BlockingIOError:
            return found


async def hears(wire: module._Wire, is_enough: Callable[[list[tuple[Any, ...]]], bool]) -> list[tuple[Any, ...]]:
    """Return what has arrived as soon as it is enough. Raises TimeoutError when that does not come."""
    loop = asyncio.get_running_loop()
    arrived: list[tuple[Any, ...]] = []
    async with asyncio.timeout(PATIENCE_S):
        while not is_enough(arrived):
            arrived.append(marshal.loads(await loop.sock_recv(wire.ears[1], module.LONGEST)))
    return [*arrived, *heard(wire)]  # what came beyond that, too


def close(mesh: Mesh) -> None:
    """Close both ends of a mesh that has not parted."""
    for wire in (mesh._news, mesh._messages):
        wire.ears[1].close()
    mesh.close()


def test_what_is_said_arrives_whole_and_in_order_however_slow_the_other_is(two: Mesh) -> None:
    async def test() -> None:
        for number in range(5000):  # far more than the kernel takes
            two.say(1, "number", number, b"x" * 1000)
        assert two._news.waiting[1]
        arrived = await hears(two._news, lambda arrived: len(arrived) >= 5000)
        assert arrived == [("number", number, b"x" * 1000) for number in range(5000)]
        assert two.lost == 0
        close(two)

    asyncio.run(test())


def test_messages_from_the_network_are_lost_where_a_worker_has_no_time_and_counted(two: Mesh) -> None:
    async def test() -> None:
        sent = 0
        while not two.lost:
            two.pass_on(1, "message", sent, may_be_lost=True)
            sent += 1
            assert len(two._messages.waiting[1]) <= module.MOST_PASSED
            assert sent < 100_000, "none of so many was lost"
        two.pass_on(1, "must", "arrive")  # by TCP: nobody would send it again
        arrived = await hears(two._messages, lambda arrived: ("must", "arrive") in arrived)
        assert arrived == [*(("message", number) for number in range(sent - 1)), ("must", "arrive")]
        close(two)

    asyncio.run(test())


def test_to_one_who_has_ended_nothing_is_said_and_nothing_fails(two: Mesh) -> None:
    async def test() -> None:
        two.become(0)  # lets go of the other's ear, which nobody else has here
        two.say(1, "anybody?")
        two.say_all("anybody?")
        two.pass_on(1, "anybody?")
        assert two.lost == 3
        two.close()

    asyncio.run(test())


def test_a_worker_hears_what_it_is_told(two: Mesh) -> None:
    async def test() -> None:
        got: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        two.listen(lambda *what: got.put_nowait(what))
        two.say(0, "message", b"data", ("udp", ("h", 5060), ("::1", 1), 0), 1.5, None, True)
        assert await got.get() == ("message", b"data", ("udp", ("h", 5060), ("::1", 1), 0), 1.5, None, True)
        close(two)

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
        for wire in (two._news, two._messages):
            wire.ears[1].close()
        team.close()

    asyncio.run(test())


def test_however_much_is_passed_on_a_worker_comes_back_to_its_own(two: Mesh) -> None:
    """Before a message news are heard, of those a share, and no messages: else who sends enough would stop a worker."""

    async def test() -> None:
        had: list[str] = []

        def hear(kind: str) -> None:
            had.append(kind)
            two.say(0, "news")  # and so on, for ever
            two.pass_on(0, "message")

        two.listen(hear)
        two.say(0, "news")
        two.pass_on(0, "message")
        two.catch_up()
        assert had == ["news"] * module.DRAIN
        close(two)

    asyncio.run(test())


@pytest.mark.parametrize("worker", [0, 1, 31, 32, 63])
def test_who_waits_for_a_failed_message_is_told_whoever_it_is(worker: int) -> None:
    mesh, count = Mesh(64), 64

    async def test() -> None:
        shell = Shell()
        location = Location()
        owner = (worker + 1) % count
        mesh.number = worker
        team = Team(mesh, shell, location, TeamJournal(mesh, location, None, is_kept=False))  # type: ignore[arg-type]
        flow = Flow("tcp", ("10.0.0.1", 5060), ("10.0.0.2", 5060), owner + 1)
        assert team.sends(Send(flow, b"data", b"z9hG4bK1 INVITE"))
        kind, _, _, token, *_ = marshal.loads(mesh._messages.ears[owner].recv(module.LONGEST))
        assert kind == "send"
        mesh.number = owner
        assert team.failed(token)
        assert not team.failed(b"z9hG4bK1 INVITE")
        assert marshal.loads(mesh._news.ears[worker].recv(module.LONGEST)) == ("failed", b"z9hG4bK1 INVITE")
        for wire in (mesh._news, mesh._messages):
            for ear in wire.ears:
                ear.close()
        team.close()

    asyncio.run(test())


class Shell:
    """What a team needs of its shell, where nothing is seen to."""

    def has_stream(self, effect: Send) -> bool:
        return False


def test_at_the_start_the_others_hear_of_all_bindings_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SAID", 2000)  # far fewer than there are: to tell more at once would lose them
    monkeypatch.setattr(module, "BUFFER_BYTES", 4096)
    two, count = Mesh(2), 5000

    async def test() -> None:
        location = Location()
        for number in range(1, count + 1):
            user = b"u%d" % number
            location.take(
                Record(
                    number, user, b"sip:%b@h" % user, 4e9, 1000, b"c", 1, b"", 0, b"", "udp", "10.0.0.1", 5060,
                    "10.0.0.2", 5060, False,
                ), 0,
            )  # fmt: skip
        team = Team(two, Shell(), location, TeamJournal(two, location, None, is_kept=False))  # type: ignore[arg-type]
        sharing = asyncio.get_running_loop().create_task(team.share())
        told = await hears(two._news, lambda told: bool(told) and told[-1][0] == "loaded")
        await sharing
        assert [what[1][0] for what in told[:-1]] == list(range(1, count + 1))
        assert told[-1] == ("loaded", count)
        for wire in (two._news, two._messages):
            wire.ears[1].close()
        team.close()

    asyncio.run(test())
