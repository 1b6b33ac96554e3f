"""OPTIONS that keep the holes of registered phones open, and what becomes of phones that do not answer."""

from __future__ import annotations

from collections import Counter

from proxy.core.effects import Forget
from tests.flows.ladder import Ladder, Phone, Sent, alice, arrows, bob

A = alice().seen
INTERVAL_S = 20


def started(misses: int = 3) -> Ladder:
    ladder = Ladder(keepalive_s=INTERVAL_S, keepalive_misses=misses)
    assert ladder.carry_out(ladder.engine.start(ladder.now)) == []
    return ladder


def with_alice(misses: int = 3) -> Ladder:
    ladder = started(misses)
    ladder.one(alice().register(), A)
    return ladder


def asked(ladder: Ladder) -> Sent:
    """Wait a round; return the one OPTIONS that was sent in it."""
    ((_, sent),) = ladder.wait(INTERVAL_S)
    return sent


def pong(ladder: Ladder, options: Sent, source: tuple[str, int] = A, status: int = 200) -> None:
    assert ladder.send(alice().answer(options, status, contact=b""), source) == []


def test_a_phone_behind_a_nat_is_asked_on_its_flow_as_its_own_contact() -> None:
    ladder = with_alice()
    options = asked(ladder)
    assert arrows([options]) == [("OPTIONS", A)]
    assert options.start == b"OPTIONS %b SIP/2.0" % alice().contact
    assert options.flow == ladder.flow(A)
    assert len(options.values("Via")) == 1
    assert len(ladder.engine.transactions) == 0


def test_a_phone_on_the_internet_is_left_alone() -> None:
    ladder = started()
    ladder.one(bob().register(), bob().seen)
    assert ladder.wait(5 * INTERVAL_S) == []


def test_all_phones_are_asked_once_an_interval_and_never_many_at_a_time() -> None:
    ladder, count = started(misses=1000), 100
    for number in range(count):
        phone = Phone(f"phone{number}", ("10.77.1.100", 5060), ("198.51.100.20", 40000 + number))
        ladder.one(phone.register(), phone.seen)
    ladder.wait(INTERVAL_S)  # the round in which they came
    sent = ladder.wait(10 * INTERVAL_S)
    assert set(Counter(each.to for _, each in sent).values()) == {10}
    at_once = Counter(after for after, _ in sent)
    assert max(at_once.values()) == count // INTERVAL_S
    assert len({each.via().param(b"branch") for _, each in sent}) == len(sent)


def test_any_answer_is_a_sign_of_life() -> None:
    ladder = with_alice(misses=2)
    for status in (200, 404, 405, 480, 501) * 2:
        pong(ladder, asked(ladder), status=status)
    assert len(ladder.location.by_id) == 1
    assert ladder.engine.counts["stray-response"] == 0


def test_a_phone_that_misses_too_often_is_removed_from_memory_and_journal() -> None:
    ladder = with_alice(misses=3)
    (binding,) = ladder.location.by_id.values()
    for _ in range(3):
        asked(ladder)
        assert len(ladder.location.by_id) == 1
    assert ladder.wait(INTERVAL_S) == []
    assert ladder.location.by_id == {}
    assert ladder.journal[-1] == Forget(binding.id, binding.expires_at)
    assert ladder.notes[-1].name == "binding-dead"
    assert ladder.status(bob().request(b"INVITE", alice().aor), bob().seen) == 480


def test_an_answer_forgives_all_misses() -> None:
    ladder = with_alice(misses=3)
    for _ in range(5):
        asked(ladder)
        asked(ladder)
        pong(ladder, asked(ladder))
    assert len(ladder.location.by_id) == 1


def test_an_answer_from_somewhere_else_does_not_count() -> None:
    ladder = with_alice(misses=3)
    for _ in range(3):
        pong(ladder, asked(ladder), source=("198.51.100.20", 40001))
    ladder.wait(INTERVAL_S)
    assert ladder.location.by_id == {}


def test_an_answer_with_a_forged_name_of_the_binding_is_dropped() -> None:
    ladder = with_alice(misses=3)
    options = asked(ladder)
    tag = options.message.lines[options.message.keys.index(b"from")].partition(b"tag=")[2]
    forged = alice().answer(options, 200).replace(tag, b"1.AAAAAAAAAAAAAAAA")
    assert ladder.send(forged, A) == []
    assert ladder.engine.counts["stray-response"] == 1
    (binding,) = ladder.location.by_id.values()
    assert binding.misses == 1


def test_a_refresh_forgives_misses_too() -> None:
    ladder, phone = with_alice(misses=2), alice()
    for _ in range(5):
        asked(ladder)
        phone.cseq += 1
        ladder.one(phone.register(), A)
    assert len(ladder.location.by_id) == 1


def test_a_phone_on_a_connection_is_asked_on_that_connection() -> None:
    ladder = started()
    phone = Phone("alice", ("10.77.1.100", 5060), A, transport="tcp", connection=7)
    ladder.says(phone, phone.register())
    options = asked(ladder)
    assert (options.flow.transport, options.flow.connection) == ("tcp", 7)
    assert options.values("Via")[0].startswith(b"SIP/2.0/TCP 198.51.100.10:5060;")


def test_an_expired_binding_is_removed_without_being_asked() -> None:
    ladder = started()
    ladder.one(alice().register(b"Expires: 60"), A)
    ladder.wait(60)
    sent = ladder.wait(10 * INTERVAL_S)
    assert sent == []
    assert ladder.location.by_id == {}
    assert isinstance(ladder.journal[-1], Forget)


def test_without_the_remedy_nobody_is_asked() -> None:
    ladder = Ladder({"keepalive"}, keepalive_s=INTERVAL_S)
    ladder.carry_out(ladder.engine.start(ladder.now))
    ladder.one(alice().register(), A)
    assert ladder.wait(10 * INTERVAL_S) == []
    assert len(ladder.location.by_id) == 1
