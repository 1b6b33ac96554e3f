"""Every timer of RFC 3261 §17 (Table 4), of RFC 6026 and of RFC 4320, by its value and by what it does."""

from __future__ import annotations

import pytest

from proxy.core.transaction import Times
from tests.flows.follow import ack
from tests.flows.ladder import Ladder, Phone, Sent, alice, arrows, bob

A, B = alice().seen, bob().seen
USUAL, QUICK, SLOW = Times(), Times(t1=0.1, t2=0.8, t4=1.0, c=200.0), Times(t1=1.0, t2=3.0, t4=7.0)
OF_ALL = pytest.mark.parametrize("times", [USUAL, QUICK, SLOW], ids=["usual", "quick", "slow"])


def both(times: Times, transport: str = "udp") -> tuple[Ladder, Phone, Phone]:
    """Return a proxy with these times, and two registered phones behind NATs, each with a connection if it is TCP."""
    ladder = Ladder(times=times)
    number = 0 if transport == "udp" else 1
    phones = (
        Phone("alice", ("10.77.1.100", 5060), A, transport=transport, connection=number),
        Phone("bob", ("10.77.2.100", 5060), B, transport=transport, connection=2 * number),
    )
    for phone in phones:
        assert arrows(ladder.says(phone, phone.register())) == [("200", phone.seen)]
    return ladder, *phones


def times_of(sent: list[tuple[float, Sent]], what: str) -> list[float]:
    return [after for after, each in sent if each.what == what]


def doubled(first: float, most: float, end: float) -> list[float]:
    """Return when a retransmission timer fires that begins at `first` and doubles up to `most`, before `end`."""
    found, at, interval = [], first, first
    while at < end:
        found.append(round(at, 6))
        interval = min(2 * interval, most)
        at += interval
    return found


@OF_ALL
def test_timer_a_doubles_from_t1_without_bound_until_timer_b(times: Times) -> None:
    ladder, caller, callee = both(times)
    ladder.says(caller, caller.request(b"INVITE", callee.aor))
    sent = ladder.wait(100)
    assert times_of(sent, "INVITE") == doubled(times.t1, 1e9, 64 * times.t1)
    assert times_of(sent, "408")[0] == round(64 * times.t1, 6)  # Timer B


@OF_ALL
def test_timer_e_doubles_from_t1_to_t2_until_timer_f(times: Times) -> None:
    ladder, caller, callee = both(times)
    ladder.says(caller, caller.request(b"MESSAGE", callee.aor))
    sent = ladder.wait(200)
    assert times_of(sent, "MESSAGE") == doubled(times.t1, times.t2, 64 * times.t1)
    assert times_of(sent, "408") == []  # RFC 4320 §4.2: whoever asked has given up already
    assert len(ladder.engine.transactions) == 0


@OF_ALL
def test_a_provisional_response_slows_timer_e_to_t2(times: Times) -> None:
    """§17.1.2.2: the running interval ends first."""
    ladder, caller, callee = both(times)
    (request,) = ladder.says(caller, caller.request(b"MESSAGE", callee.aor))
    ladder.says(callee, callee.answer(request, 100))
    repeated = times_of(ladder.wait(64 * times.t1), "MESSAGE")
    assert repeated[:3] == pytest.approx([times.t1, times.t1 + times.t2, times.t1 + 2 * times.t2])


@OF_ALL
def test_a_non_invite_is_answered_100_when_timer_e_has_come_to_t2(times: Times) -> None:
    """RFC 4320 §4.1; with the usual times that is after 3.5 s."""
    ladder, caller, callee = both(times)
    (request,) = ladder.says(caller, caller.request(b"MESSAGE", callee.aor))
    late = {USUAL.t1: 3.5, QUICK.t1: 0.7, SLOW.t1: 3.0}[times.t1]
    assert times_of(ladder.wait(60 * times.t1), "100") == [pytest.approx(late)]
    assert arrows(ladder.says(callee, callee.answer(request, 200))) == [("200", A)]


def test_an_answer_in_time_needs_no_100() -> None:
    ladder, caller, callee = both(USUAL)
    (request,) = ladder.says(caller, caller.request(b"MESSAGE", callee.aor))
    ladder.wait(3.4)
    ladder.says(callee, callee.answer(request, 200))
    assert times_of(ladder.wait(100), "100") == []


def test_a_provisional_response_stops_timers_a_and_b() -> None:
    ladder, caller, callee = both(USUAL)
    (invite,) = ladder.says(caller, caller.request(b"INVITE", callee.aor))
    ladder.says(callee, callee.answer(invite, 180))
    assert ladder.wait(180.9) == []


@OF_ALL
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_timer_c_cancels_who_rings_too_long_and_every_1xx_starts_it_again(times: Times, transport: str) -> None:
    """§16.7 step 2, §16.8: a 100 does not."""
    ladder, caller, callee = both(times, transport)
    (invite,) = ladder.says(caller, caller.request(b"INVITE", callee.aor))
    ladder.says(callee, callee.answer(invite, 180))
    assert ladder.wait(100) == []
    ladder.says(callee, callee.answer(invite, 183))
    assert ladder.wait(100) == []
    ladder.says(callee, callee.answer(invite, 100))
    sent = ladder.wait(times.c - 100 + 64 * times.t1)
    assert times_of(sent, "CANCEL")[0] == pytest.approx(times.c - 100)
    assert times_of(sent, "487")[0] == pytest.approx(times.c - 100 + 64 * times.t1)  # §9.1: no longer than that


@OF_ALL
def test_timer_d_absorbs_refusals_for_32_seconds_at_least(times: Times) -> None:
    """§17.1.1.2: an absolute 32 s, because the server's T1 may be another."""
    ladder, caller, callee = both(times)
    (invite,) = ladder.says(caller, caller.request(b"INVITE", callee.aor))
    refusal = callee.answer(invite, 486)
    first = ladder.says(callee, refusal)[0]
    ladder.wait(max(32, 64 * times.t1) - 0.01)
    (again,) = ladder.says(callee, refusal)
    assert (again.to, again.data) == (B, first.data)
    ladder.wait(0.02)
    assert ladder.says(callee, refusal) == []


@OF_ALL
def test_timer_g_repeats_a_refusal_from_t1_to_t2_until_timer_h(times: Times) -> None:
    ladder, caller, callee = both(times)
    (invite,) = ladder.says(caller, caller.request(b"INVITE", callee.aor))
    ladder.says(callee, callee.answer(invite, 486))
    assert times_of(ladder.wait(200), "486") == doubled(times.t1, times.t2, 64 * times.t1)


@OF_ALL
def test_timer_i_absorbs_acks_for_t4(times: Times) -> None:
    ladder, caller, callee = both(times)
    data = caller.request(b"INVITE", callee.aor)
    (invite,) = ladder.says(caller, data)
    _, refusal = ladder.says(callee, callee.answer(invite, 486))
    ladder.says(caller, ack(data, refusal))
    ladder.wait(times.t4 - 0.01)
    assert len(ladder.engine.transactions.servers) == 1
    assert ladder.says(caller, data) == []  # not a new call
    ladder.wait(0.02)
    assert len(ladder.engine.transactions.servers) == 0


@OF_ALL
def test_timer_j_answers_copies_of_a_request_for_64_t1_and_timer_k_absorbs_answers_for_t4(times: Times) -> None:
    ladder, caller, callee = both(times)
    data = caller.request(b"MESSAGE", callee.aor)
    (request,) = ladder.says(caller, data)
    (answer,) = ladder.says(callee, callee.answer(request, 200))
    assert ladder.says(callee, callee.answer(request, 200)) == []
    ladder.wait(times.t4 - 0.01)
    assert len(ladder.engine.transactions.clients) == 1
    ladder.wait(0.02)
    assert len(ladder.engine.transactions.clients) == 0
    ladder.wait(64 * times.t1 - times.t4 - 0.02)
    assert [each.data for each in ladder.says(caller, data)] == [answer.data]
    ladder.wait(0.02)
    assert len(ladder.engine.transactions.servers) == 0


@OF_ALL
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_timers_l_and_m_keep_an_accepted_invite_for_64_t1_on_any_transport(times: Times, transport: str) -> None:
    """RFC 6026 §7.1, §7.2."""
    ladder, caller, callee = both(times, transport)
    data = caller.request(b"INVITE", callee.aor)
    (invite,) = ladder.says(caller, data)
    ok = callee.answer(invite, 200)
    ladder.says(callee, ok)
    ladder.wait(64 * times.t1 - 0.01)
    assert ladder.says_all(caller, data) == []  # Timer L: absorbed, and not answered
    assert arrows(ladder.says(callee, ok)) == [("200", A)]  # Timer M
    ladder.wait(0.02)
    assert ladder.says(callee, ok) == []
    assert len(ladder.engine.transactions) == 0


# On TCP: A, E and G do not run, D, I, J and K are zero; B, F and H run.


@pytest.mark.parametrize(("method", "last"), [(b"INVITE", "408"), (b"MESSAGE", "100")])
def test_on_tcp_requests_are_sent_once_and_timers_b_and_f_run(method: bytes, last: str) -> None:
    ladder, caller, callee = both(USUAL, "tcp")
    assert arrows(ladder.says(caller, caller.request(method, callee.aor))) == [(method.decode(), B)]
    sent = ladder.wait(31.9)
    assert times_of(sent, method.decode()) == []
    assert len(ladder.engine.transactions.clients) == 1
    sent += ladder.wait(0.2)
    assert len(ladder.engine.transactions.clients) == 0
    assert [each.what for _, each in sent] == [last]


def test_on_tcp_a_refusal_is_sent_once_and_timer_h_waits_for_the_ack() -> None:
    ladder, caller, callee = both(USUAL, "tcp")
    data = caller.request(b"INVITE", callee.aor)
    (invite,) = ladder.says(caller, data)
    ladder.says(callee, callee.answer(invite, 486))
    assert len(ladder.engine.transactions.clients) == 0  # Timer D is zero
    assert ladder.wait(31.9) == []
    assert len(ladder.engine.transactions.servers) == 1
    assert ladder.wait(0.2) == []
    assert len(ladder.engine.transactions.servers) == 0


def test_on_tcp_the_ack_and_a_final_response_end_their_transactions_at_once() -> None:
    ladder, caller, callee = both(USUAL, "tcp")
    data = caller.request(b"INVITE", callee.aor)
    (invite,) = ladder.says(caller, data)
    _, refusal = ladder.says(callee, callee.answer(invite, 486))
    ladder.says(caller, ack(data, refusal))
    assert len(ladder.engine.transactions) == 0  # Timer I is zero
    (request,) = ladder.says(caller, caller.request(b"MESSAGE", callee.aor))
    ladder.says(callee, callee.answer(request, 200))
    assert len(ladder.engine.transactions) == 0  # and so are J and K
