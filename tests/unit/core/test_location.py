"""The table of registered users, and what its journal is told (RFC 3261 §10)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core import location
from proxy.core.effects import Effect, Forget, Save
from proxy.core.flow import Address, Flow
from proxy.core.location import MAX_BINDINGS_PER_AOR, Binding, Full, Location, binding_key

FLOW = Flow("udp", ("10.0.0.1", 5060), ("10.0.0.2", 5060))


def binding(name: bytes, expires_at: float = 10.0, remote: Address = FLOW.remote, aor: bytes = b"a") -> Binding:
    contact = b"sip:%b@10.0.0.2:9" % name
    key = binding_key(contact, b"", 0)
    return Binding(aor, contact, key, FLOW._replace(remote=remote), expires_at, b"c", 1)


def put(table: Location, *wanted: Binding, aor: bytes = b"a", now: float = 0.0) -> list[Binding]:
    """Replace all bindings; return them."""
    table.replace(aor, list(wanted), now)
    return list(wanted)


def names(table: Location, now: float = 0.0, aor: bytes = b"a") -> list[bytes] | None:
    found = table.bindings(aor, now)
    return None if found is None else [each.contact[4:].partition(b"@")[0] for each in found]


def agree(table: Location, aors: tuple[bytes, ...] = (b"a",), now: float = 0.0) -> None:
    """The invariant: what is in the lists is in `by_id`, and where phones are is counted right."""
    listed = [each for aor in aors for each in table.bindings(aor, now) or []]
    assert sorted(each.id for each in listed) == sorted(table.by_id)
    assert all(table.by_id[each.id] is each for each in listed)
    addresses = {each.flow.remote for each in listed} | ({("10.0.0.2", 9)} if listed else set())
    assert set(table.targets) == addresses
    assert all(count > 0 for count in table.targets.values())


def test_the_newest_binding_comes_first() -> None:
    table = Location()
    one, two = put(table, binding(b"1"), binding(b"2"))
    assert names(table) == [b"2", b"1"]
    put(table, two, replace(one))
    assert names(table) == [b"1", b"2"]
    agree(table)


def test_a_binding_is_over_at_its_very_second_and_the_journal_is_told() -> None:
    journal: list[Effect] = []
    table = Location(journal)
    (it,) = put(table, binding(b"1", 10.0))
    assert names(table, 9.9) == [b"1"]
    assert names(table, 10.0) == []
    assert journal == [Forget(it.id, it.expires_at)]
    agree(table, now=10.0)


def test_a_user_who_never_registered_is_told_from_one_who_is_gone() -> None:
    table = Location()
    assert names(table) is None
    put(table)
    assert names(table) is None
    put(table, binding(b"1"))
    put(table)
    assert names(table) == []
    agree(table)


def test_ids_are_never_used_twice_and_a_successor_bears_the_id_of_whom_it_replaces() -> None:
    table = Location()
    one, two = put(table, binding(b"1"), binding(b"2"))
    assert one.id != two.id
    moved = replace(one, flow=FLOW._replace(remote=("10.0.0.7", 7)))
    put(table, moved)
    assert table.by_id == {one.id: moved}
    (three,) = put(table, binding(b"3"))
    assert three.id not in {one.id, two.id}
    agree(table)


def test_a_binding_that_is_not_wanted_is_removed_from_table_and_journal() -> None:
    journal: list[Effect] = []
    table = Location(journal)
    one, two = put(table, binding(b"1"), binding(b"2"))
    put(table, two)
    assert journal == [Forget(one.id, one.expires_at)]
    assert names(table) == [b"2"]
    agree(table)


def test_a_successor_is_not_forgotten_by_the_journal() -> None:
    journal: list[Effect] = []
    table = Location(journal)
    (one,) = put(table, binding(b"1"))
    (moved,) = put(table, replace(one, flow=FLOW._replace(remote=("10.0.0.7", 7))))
    assert journal == []
    table.save(moved)
    assert journal == [Save(moved.record())]


def test_where_phones_are_follows_every_change() -> None:
    table = Location()
    (one,) = put(table, binding(b"1", remote=("10.0.0.2", 1)))
    (other,) = put(table, binding(b"1", remote=("10.0.0.3", 1), aor=b"b"), aor=b"b")
    contact = ("10.0.0.2", 9)  # on the host of the one's flow; of the other's it is not, and could be anybody's
    assert table.targets == {("10.0.0.2", 1): 1, ("10.0.0.3", 1): 1, contact: 1}
    (one,) = put(table, replace(one, flow=FLOW._replace(remote=("10.0.0.4", 1))))
    assert table.targets == {("10.0.0.4", 1): 1, ("10.0.0.3", 1): 1}
    table.remove(one)
    assert table.targets == {("10.0.0.3", 1): 1}
    table.remove(other)
    assert not table.targets


def test_a_phone_at_its_own_contact_is_at_one_address() -> None:
    table = Location()
    put(table, binding(b"1", remote=("10.0.0.2", 9)))
    assert table.targets == {("10.0.0.2", 9): 1}


def test_one_user_has_so_many_bindings_and_a_change_that_is_too_much_changes_nothing() -> None:
    journal: list[Effect] = []
    table = Location(journal)
    most = put(table, *(binding(b"%d" % number) for number in range(MAX_BINDINGS_PER_AOR)))
    with pytest.raises(Full):
        put(table, *most[1:], binding(b"x"), binding(b"y"))
    assert names(table) == [b"%d" % number for number in reversed(range(MAX_BINDINGS_PER_AOR))]
    assert journal == []
    put(table, *most[1:], replace(most[0]))
    agree(table)


def test_removing_what_was_replaced_meanwhile_removes_nothing() -> None:
    table = Location()
    (one,) = put(table, binding(b"1"))
    put(table, replace(one, expires_at=99.0))
    table.remove(one)
    assert names(table) == [b"1"]
    table.remove(binding(b"1"))
    assert names(table) == [b"1"]
    agree(table)


def test_a_full_table_forgets_the_idle_before_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "MAX_AORS", 1)
    table = Location()
    put(table, binding(b"1", 10.0, aor=b"old"), aor=b"old")
    with pytest.raises(Full):
        put(table, binding(b"1", 30.0), now=9.0)
    with pytest.raises(Full):  # it looked a moment ago, and a flood must not have it look each time
        put(table, binding(b"1", 30.0), now=11.0)
    put(table, binding(b"1", 30.0), now=9.0 + location.SCAN_EVERY_S)
    assert names(table, 19.0, b"old") is None
    assert names(table, 19.0) == [b"1"]


# The journal


def test_what_the_journal_kept_is_as_it_was() -> None:
    journal: list[Effect] = []
    table = Location(journal)
    instance = Binding(
        b"a", b"sip:a@10.0.0.9;ob", binding_key(b"", b"<urn:x>", 2), FLOW, 100.5, b"call", 7, 250, True, b"<urn:x>", 2,
        b"<sip:edge;lr>",
    )  # fmt: skip
    for each in put(table, binding(b"1", 50.0), instance):
        table.save(each)
    again = Location()
    assert again.load([effect.record for effect in journal if isinstance(effect, Save)], 1.0) == 2
    assert again.bindings(b"a", 1.0) == table.bindings(b"a", 1.0)
    assert again.targets == table.targets
    (new,) = put(again, binding(b"new", aor=b"b"), aor=b"b")
    assert new.id not in table.by_id


def test_what_is_over_by_then_is_forgotten_and_its_id_stays_used() -> None:
    table = Location()
    (one,) = put(table, binding(b"1", 10.0))
    journal: list[Effect] = []
    again = Location(journal)
    assert again.load([one.record()], 10.0) == 0
    assert journal == [Forget(one.id, one.expires_at)]
    assert names(again, 10.0) is None
    (new,) = put(again, binding(b"2", 20.0), now=10.0)
    assert new.id > one.id


def test_a_connection_does_not_outlive_the_process() -> None:
    table = Location()
    flow = Flow("tcp", FLOW.local, FLOW.remote, 17)
    (one,) = put(table, replace(binding(b"1"), flow=flow))
    again = Location()
    again.load([one.record()], 0.0)
    (loaded,) = again.bindings(b"a", 0.0) or []
    assert loaded.flow.connection not in {0, 17}
    assert loaded.flow == flow._replace(connection=loaded.flow.connection)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((b"sip:a@h", b"", 0), (b"SIP:a@H", b"", 0), True),
        ((b"sip:a@h", b"", 0), (b"sip:a@h;ob", b"", 0), True),
        ((b"sip:a@h", b"", 0), (b"sip:b@h", b"", 0), False),
        ((b"sip:a@h", b"", 0), (b"sip:a@h;transport=tcp", b"", 0), False),
        ((b"sip:a@h", b"<urn:x>", 0), (b"sip:a@h", b"<urn:y>", 0), True),
        ((b"sip:a@h", b"<urn:x>", 1), (b"sip:b@i", b"<urn:x>", 1), True),
        ((b"sip:a@h", b"<urn:x>", 1), (b"sip:a@h", b"<urn:x>", 2), False),
        ((b"sip:a@h", b"<urn:x>", 1), (b"sip:a@h", b"<urn:y>", 1), False),
        ((b"no uri", b"", 0), (b"no uri", b"", 0), True),
    ],
)
def test_a_binding_is_told_by_its_uri_or_by_instance_and_reg_id(
    one: tuple[bytes, bytes, int], other: tuple[bytes, bytes, int], same: bool
) -> None:
    assert (binding_key(*one) == binding_key(*other)) == same


def test_two_tables_that_tell_each_other_are_the_same_and_give_no_id_twice() -> None:
    """As several workers do: each gives every second id, and takes what the other has."""
    told: list[list[Effect]] = [[], []]
    tables = [Location(told[0], 1, 2), Location(told[1], 2, 2)]

    def tell() -> None:
        for number, table in enumerate(tables):
            for effect in told[number]:
                if isinstance(effect, Save):
                    tables[1 - number].take(effect.record, table.by_id[effect.record.id].flow.connection)
                elif isinstance(effect, Forget):
                    tables[1 - number].drop(*effect)
            told[number].clear()

    def register(table: Location, *wanted: Binding, aor: bytes) -> None:
        for each in put(table, *wanted, aor=aor):
            table.save(each)
        tell()
        for each_table in tables:
            agree(each_table, (b"a", b"b"))

    by_stream = replace(binding(b"1"), flow=FLOW._replace(transport="tcp", connection=7), natted=True)
    register(tables[0], by_stream, aor=b"a")
    assert tables[1].by_id[1].flow.connection == 7
    assert tables[1].behind_nat == tables[0].behind_nat
    register(tables[1], binding(b"2", aor=b"b"), aor=b"b")
    register(tables[0], binding(b"3", aor=b"b"), *(tables[0].bindings(b"b", 0.0) or []), aor=b"b")
    assert [names(table, aor=b"b") for table in tables] == [[b"2", b"3"], [b"2", b"3"]]
    assert [sorted(table.by_id) for table in tables] == [[1, 2, 3], [1, 2, 3]]
    refreshed = replace(tables[1].by_id[1], expires_at=20.0)  # by the other one, with a successor of the same id
    register(tables[1], refreshed, aor=b"a")
    assert [table.by_id[1].expires_at for table in tables] == [20.0, 20.0]
    register(tables[1], aor=b"a")
    tables[0].remove(tables[0].by_id[2])
    tell()
    assert [sorted(table.by_id) for table in tables] == [[3], [3]]
    tables[0].drop(2)  # once more: nothing happens


@pytest.mark.parametrize(
    ("first", "step", "known", "next_id"), [(1, 1, 7, 8), (1, 3, 7, 10), (2, 3, 7, 8), (3, 3, 7, 9), (3, 3, 1, 3)]
)
def test_an_id_that_is_known_is_never_given_again(first: int, step: int, known: int, next_id: int) -> None:
    table = Location([], first, step)
    table.load([replace(binding(b"1"), id=known).record()], 0.0)
    (new,) = put(table, binding(b"2", aor=b"b"), aor=b"b")
    assert new.id == next_id
    assert (new.id - first) % step == 0


def test_tables_agree_whatever_crossed_between_them() -> None:
    """One removes what another renews, in either order; two take one phone at one moment: all keep the same."""
    old = replace(binding(b"1"), id=1).record()
    renewed = old._replace(expires_at=20.0)
    removed = Forget(1, old.expires_at)
    for renewed_first in (True, False):
        table = Location([], 2, 3)
        table.take(old, 0)
        if renewed_first:
            assert table.take(renewed, 0) == []
            assert not table.drop(*removed)
        else:
            assert table.drop(*removed)
            assert table.take(renewed, 0) == []
        assert [each.expires_at for each in table.by_id.values()] == [20.0]
        agree(table)
    late, early = renewed._replace(id=2), renewed._replace(id=3, expires_at=15.0)
    for twins in ((late, early), (early, late)):
        table = Location([], 1, 3)
        assert [gone for record in twins for gone in table.take(record, 0)] == [3]
        assert sorted(table.by_id) == [2]
        agree(table)
    same = late._replace(id=5)  # of two that expire together, the one with the higher id
    for twins in ((late, same), (same, late)):
        table = Location([], 1, 3)
        assert [gone for record in twins for gone in table.take(record, 0)] == [2]
        agree(table)
