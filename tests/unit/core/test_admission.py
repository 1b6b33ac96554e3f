"""Who asks too much: wrong passwords and floods."""

from __future__ import annotations

import pytest

from proxy.core import admission
from proxy.core.admission import Admission, Allowance, source_of

HOST, OTHER = "198.51.100.20", "198.51.100.21"


def guesses(gate: Admission, count: int, host: str = HOST, user: bytes = b"alice", now: float = 0.0) -> int:
    for _ in range(count):
        gate.failed(host, user, now)
    return gate.penalty(host, user, now)


def test_the_first_wrong_passwords_are_free_and_then_the_wait_doubles_up_to_a_ceiling() -> None:
    gate = Admission(Allowance())
    assert guesses(gate, 5) == 0
    assert [guesses(gate, 1) for _ in range(10)] == [3, 5, 9, 17, 33, 65, 129, 257, 301, 301]


def test_a_penalty_ends_with_its_time() -> None:
    gate = Admission(Allowance(free_failures=0))
    assert guesses(gate, 3) == 9  # 2**3 seconds, rounded up so that whoever obeys Retry-After is let in
    assert gate.penalty(HOST, b"alice", 7.5) == 1
    assert gate.penalty(HOST, b"alice", 8.0) == 0


def test_phones_behind_one_nat_do_not_lock_each_other_out() -> None:
    gate = Admission(Allowance())
    assert guesses(gate, 20) > 0
    assert gate.penalty(HOST, b"bob", 0.0) == 0
    assert gate.penalty(OTHER, b"alice", 0.0) == 0


def test_who_names_no_user_locks_nobody_else_out() -> None:
    gate = Admission(Allowance())
    assert guesses(gate, 20, user=b"") > 0
    assert gate.penalty(HOST, b"alice", 0.0) == 0


def test_who_tries_one_user_after_another_meets_the_limit_of_the_source() -> None:
    gate = Admission(Allowance(free_failures_of_source=50))
    for number in range(51):
        assert gate.penalty(HOST, b"next", 0.0) == 0
        gate.failed(HOST, b"user-%d" % number, 0.0)
    assert gate.penalty(HOST, b"next", 0.0) > 0
    assert gate.penalty(OTHER, b"next", 0.0) == 0


def test_the_right_password_makes_the_wrong_ones_forgotten() -> None:
    gate = Admission(Allowance())
    guesses(gate, 5)
    gate.succeeded(HOST, b"alice", 0.0)
    assert guesses(gate, 5) == 0


def test_a_source_floods_when_it_has_used_up_its_burst_and_rests_at_its_rate() -> None:
    gate = Admission(Allowance(refused_per_s=10, refused_burst=100))
    assert not gate.is_flooding(HOST, 0.0)
    for _ in range(99):
        gate.refused(HOST, 0.0)
    assert not gate.is_flooding(HOST, 0.0)
    gate.refused(HOST, 0.0)
    assert gate.is_flooding(HOST, 0.0)
    assert not gate.is_flooding(OTHER, 0.0)
    assert not gate.is_flooding(HOST, 0.5)


def test_who_stays_below_the_rate_is_never_silenced() -> None:
    gate = Admission(Allowance(refused_per_s=10, refused_burst=20))
    for number in range(1000):
        gate.refused(HOST, number / 10)
        assert not gate.is_flooding(HOST, number / 10)


def test_a_challenge_that_was_answered_rightly_costs_nothing() -> None:
    gate = Admission(Allowance(refused_per_s=1, refused_burst=3))
    for _ in range(50):
        gate.refused(HOST, 0.0)
        gate.succeeded(HOST, b"alice", 0.0)
    assert not gate.is_flooding(HOST, 0.0)
    gate.succeeded(HOST, b"alice", 0.0)  # nor is anything put by
    for _ in range(3):
        gate.refused(HOST, 0.0)
    assert gate.is_flooding(HOST, 0.0)


def test_one_source_is_an_ipv4_address_or_an_ipv6_64() -> None:
    assert source_of(HOST) == HOST
    assert source_of("2001:db8:1:2:3::4") == source_of("2001:db8:1:2::9") != source_of("2001:db8:1:3::9")
    assert source_of("fe80::1%eth0") == source_of("fe80::2")


def test_an_ipv6_network_has_one_credit_whatever_addresses_it_uses() -> None:
    gate = Admission(Allowance(refused_per_s=1, refused_burst=10))
    for number in range(10):
        gate.refused(f"2001:db8::{number + 1:x}", 0.0)
    assert gate.is_flooding("2001:db8::ffff", 0.0)
    assert not gate.is_flooding("2001:db8:0:1::1", 0.0)


def test_of_too_many_sources_the_one_heard_of_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_SOURCES", 4)
    gate = Admission(Allowance(free_failures=0, free_failures_of_source=0, refused_burst=1, refused_per_s=0.001))
    hosts = [f"198.51.100.{number}" for number in range(3)]
    for host in hosts:
        gate.failed(host, b"u", 0.0)  # two entries each
    assert [gate.penalty(host, b"u", 0.0) > 0 for host in hosts] == [False, True, True]
    for number in range(5):
        gate.refused(f"198.51.100.{number}", 0.0)
    assert [gate.is_flooding(f"198.51.100.{number}", 0.0) for number in range(5)] == [False, True, True, True, True]
