"""The table of registered users (RFC 3261 §10)."""

from __future__ import annotations

import pytest

from proxy.core import location
from proxy.core.flow import Flow
from proxy.core.location import MAX_BINDINGS_PER_AOR, Binding, Full, Location

FLOW = Flow("udp", ("10.0.0.1", 5060), ("10.0.0.2", 5060))


def binding(contact: bytes, expires_at: float = 10.0) -> Binding:
    return Binding(contact, FLOW, expires_at, b"c", 1)


def contacts(table: Location, now: float = 0.0) -> list[bytes] | None:
    found = table.bindings(b"a", now)
    return None if found is None else [each.contact for each in found]


def test_the_newest_binding_comes_first_and_a_refresh_makes_it_new() -> None:
    table = Location()
    for contact in (b"1", b"2", b"1"):
        table.save(b"a", binding(contact), 0.0)
    assert contacts(table) == [b"1", b"2"]


def test_a_binding_is_over_at_its_very_second() -> None:
    table = Location()
    table.save(b"a", binding(b"1", 10.0), 0.0)
    assert contacts(table, 9.9) == [b"1"]
    assert contacts(table, 10.0) == []


def test_a_user_who_never_registered_is_told_from_one_who_is_gone() -> None:
    table = Location()
    assert contacts(table) is None
    table.remove(b"a", b"1")
    assert contacts(table) is None
    table.save(b"a", binding(b"1"), 0.0)
    table.remove(b"a", b"1")
    assert contacts(table) == []


def test_one_user_has_so_many_bindings_and_may_refresh_them_all() -> None:
    table = Location()
    for number in range(MAX_BINDINGS_PER_AOR):
        table.save(b"a", binding(b"%d" % number), 0.0)
    with pytest.raises(Full):
        table.save(b"a", binding(b"one more"), 0.0)
    table.save(b"a", binding(b"0"), 0.0)


def test_what_was_there_can_be_restored_in_its_order() -> None:
    table = Location()
    for contact in (b"1", b"2"):
        table.save(b"a", binding(contact), 0.0)
    before = table.bindings(b"a", 0.0)
    table.remove(b"a", b"1")
    table.save(b"a", binding(b"3"), 0.0)
    table.restore(b"a", before)
    assert contacts(table) == [b"2", b"1"]
    table.restore(b"a", None)
    assert contacts(table) is None


def test_a_full_table_forgets_the_idle_before_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "MAX_AORS", 1)
    table = Location()
    table.save(b"old", binding(b"1", 10.0), 0.0)
    with pytest.raises(Full):
        table.save(b"a", binding(b"1", 30.0), 9.0)
    with pytest.raises(Full):  # it looked a moment ago, and a flood must not have it look each time
        table.save(b"a", binding(b"1", 30.0), 11.0)
    table.save(b"a", binding(b"1", 30.0), 9.0 + location.SCAN_EVERY_S)
    assert table.bindings(b"old", 19.0) is None
