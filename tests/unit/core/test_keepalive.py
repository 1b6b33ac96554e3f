"""Holes are kept open by asking, and who never answers is dead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.effects import Effect, Forget, Note, Send
from proxy.core.flow import Flow
from proxy.core.keepalive import SWEEP_S, Keepalive
from proxy.core.listeners import Listener, Listeners
from proxy.core.location import Binding, Location
from proxy.core.signer import Signer
from proxy.core.timers import Timers
from proxy.core.validate import validate
from proxy.sip.message import Request, Response, answer
from proxy.sip.parse import parse

HERE = ("198.51.100.10", 5060)


def phone(number: int, natted: bool = True, expires_at: float = 1e6) -> Binding:
    flow = Flow("udp", HERE, ("198.51.100.20", 40000 + number))
    contact = b"sip:u%d@10.0.0.5" % number
    return Binding(b"u%d" % number, contact, contact, flow, expires_at, b"c", 1, 1000, natted)


class Rounds:
    """A keep-alive that goes its rounds second by second."""

    def __init__(self, *bindings: Binding, interval_s: int = 10, misses: int = 3) -> None:
        self.sink: list[Effect] = []
        self.timers = Timers()
        self.location = Location(self.sink)
        for binding in bindings:
            self.location.replace(binding.aor, [binding], 0.0)
        self.it = Keepalive(
            self.location, Listeners([Listener("udp", HERE)]), Signer(bytes(16)), self.timers, self.sink, interval_s,
            misses,
        )  # fmt: skip
        self.now = 0.0
        self.it.tick(None, 0.0)

    def seconds(self, count: int) -> list[list[Send]]:
        """Return what was sent in each of the next seconds, this very moment's first."""
        found = []
        for _ in range(count):
            found.append([each for each in self.sink if isinstance(each, Send)])
            self.sink[:] = [each for each in self.sink if not isinstance(each, Send)]
            self.now += 1
            self.timers.run(self.now)
        return found

    def asked(self, count: int) -> list[Send]:
        return [each for second in self.seconds(count) for each in second]


def reply(sent: Send, status: int = 200) -> Response:
    request = parse(sent.data)
    assert isinstance(request, Request)
    return answer(request, status, b"x", (), b"t")


def test_the_question_is_a_sound_request_on_the_flow_of_the_binding() -> None:
    binding = phone(1)
    (sent,) = Rounds(binding).asked(10)
    assert (sent.flow, sent.token, sent.may_open) == (binding.flow, b"", False)
    request = parse(sent.data)
    assert isinstance(request, Request)
    assert validate(request).encode() == binding.contact
    assert request.start == b"OPTIONS sip:u1@10.0.0.5 SIP/2.0"
    assert request.values(b"via")[0].startswith(b"SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bK")


def test_every_question_is_a_new_one() -> None:
    rounds = Rounds(phone(1))
    sent = [parse(each.data) for each in rounds.asked(40)]
    assert len(sent) >= 3
    for what in (b"via", b"call-id"):
        assert len({each.header(what) for each in sent}) == len(sent)


def test_all_are_asked_once_an_interval_and_not_at_once() -> None:
    rounds = Rounds(*(phone(number) for number in range(25)), misses=1000)
    for _ in range(3):
        seconds = rounds.seconds(10)
        assert max(map(len, seconds)) == 3
        assert len({each.flow for second in seconds for each in second}) == 25
        assert sum(map(len, seconds)) == 25


def test_only_phones_behind_a_nat_are_asked() -> None:
    assert [each.flow.remote[1] for each in Rounds(phone(1), phone(2, natted=False)).asked(10)] == [40001]


def test_without_an_interval_nobody_is_asked_and_the_dead_are_buried_all_the_same() -> None:
    rounds = Rounds(phone(1, expires_at=5.0), phone(2), interval_s=0)
    assert rounds.asked(SWEEP_S + 5) == []
    assert [each.aor for each in rounds.location.by_id.values()] == [b"u2"]


def test_a_binding_whose_time_is_over_is_removed_and_the_journal_told() -> None:
    rounds = Rounds(phone(1, expires_at=25.0))
    rounds.asked(50)
    assert not rounds.location.by_id
    assert [each.id for each in rounds.sink if isinstance(each, Forget)] == [1]


def test_who_stays_silent_so_often_is_removed_with_a_note() -> None:
    rounds = Rounds(phone(1), misses=3)
    assert len(rounds.asked(100)) == 3
    assert not rounds.location.by_id
    (note,) = [each for each in rounds.sink if isinstance(each, Note)]
    assert (note.name, note.fields["aor"]) == ("binding-dead", b"u1")
    assert (rounds.it.sent, rounds.it.removed) == (3, 1)


@pytest.mark.parametrize("status", [200, 404, 501])
def test_any_answer_is_a_sign_of_life(status: int) -> None:
    rounds = Rounds(phone(1), misses=1)
    for _ in range(5):
        (sent,) = rounds.asked(5)
        assert rounds.it.answered(reply(sent, status), sent.flow)
        assert rounds.asked(5) == []
    assert rounds.location.by_id


def test_an_answer_from_elsewhere_is_no_sign_of_life() -> None:
    rounds = Rounds(phone(1), misses=1)
    (sent,) = rounds.asked(5)
    assert rounds.it.answered(reply(sent), sent.flow._replace(remote=("198.51.100.99", 1)))
    assert rounds.location.by_id
    assert rounds.asked(10) == []  # it is not asked once more, but removed
    assert not rounds.location.by_id


def test_an_answer_to_nothing_that_we_asked_is_not_ours() -> None:
    rounds = Rounds(phone(1), phone(2), misses=1)
    one, two = rounds.asked(5)
    for forged in (
        reply(one).header(b"from") or b"",
        b"<sip:alive@x>;tag=2." + (reply(one).header(b"from") or b"").rpartition(b".")[2],
        b"<sip:alive@x>;tag=", b"<sip:alive@x>", b"<sip:alive@x>;tag=x.y", b"<sip:alive@x>;tag=" + b"9" * 5000 + b".y",
    ):  # fmt: skip
        response = reply(two)
        response.set(b"From", forged)
        assert rounds.it.answered(response, two.flow) == (forged == reply(one).header(b"from"))
    assert len(rounds.location.by_id) == 2
    assert rounds.asked(10) == []
    assert not rounds.location.by_id  # none of them was a sign of life of either


def test_an_answer_that_comes_after_the_binding_is_gone_changes_nothing() -> None:
    rounds = Rounds(phone(1))
    (sent,) = rounds.asked(5)
    rounds.location.replace(b"u1", [], rounds.now)
    assert rounds.it.answered(reply(sent), sent.flow)
    assert not rounds.location.by_id


def test_a_binding_on_a_socket_that_is_gone_is_removed() -> None:
    binding = phone(1)
    rounds = Rounds(replace(binding, flow=binding.flow._replace(local=("198.51.100.99", 5060))))
    assert rounds.asked(30) == []
    assert not rounds.location.by_id


def test_who_registers_during_a_round_is_asked_in_the_next() -> None:
    rounds = Rounds(phone(1))
    rounds.asked(5)
    rounds.location.replace(b"u2", [phone(2)], 0.0)
    assert 40002 in [each.flow.remote[1] for each in rounds.asked(20)]
