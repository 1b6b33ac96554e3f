"""REGISTER as a function of a request and a table (RFC 3261 §10.3, RFC 3327, 3608, 5626, 5627)."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core import location as table
from proxy.core.effects import Effect, Forget, Record, Save
from proxy.core.flow import Flow
from proxy.core.location import MAX_BINDINGS_PER_AOR, Binding, Location
from proxy.core.registrar import Terms, aor_of, register
from proxy.sip.errors import SipError
from proxy.sip.message import Request
from proxy.sip.parse import parse

FLOW = Flow("udp", ("10.0.0.1", 5060), ("198.51.100.20", 40000))
ELSEWHERE = FLOW._replace(remote=("198.51.100.21", 50000))
TERMS = Terms(least_s=60, usual_s=3600, most_s=7200, flow_timer_s=120)
PHONE = b"<sip:a@10.0.0.9>"
URN = b"urn:uuid:00000000-0000-1000-8000-000a95a0e128"
OUTBOUND = b'm: <sip:a@10.0.0.9>;reg-id=%d;+sip.instance="<' + URN + b'>"'
SUPPORTED = b"k: path, outbound, gruu"


def request(*lines: bytes, cseq: int = 1, to: bytes = b"<sip:a@x>", call_id: bytes = b"c", vias: int = 1) -> Request:
    head = (
        b"REGISTER sip:x SIP/2.0", *[b"v: SIP/2.0/UDP h%d;branch=b" % number for number in range(vias)], b"t: " + to,
        b"i: " + call_id, b"CSeq: %d REGISTER" % cseq, *lines, b"", b"",
    )  # fmt: skip
    message = parse(b"\r\n".join(head))
    assert isinstance(message, Request)
    return message


class Registrar:
    """A registrar with a table, a journal and a clock."""

    def __init__(self, terms: Terms = TERMS) -> None:
        self.journal: list[Effect] = []
        self.location = Location(self.journal)
        self.terms = terms
        self.now = 1000.0
        self.cseq = 0

    def ask(
        self, *lines: bytes, flow: Flow = FLOW, natted: bool = True, cseq: int | None = None, call_id: bytes = b"c",
        to: bytes = b"<sip:a@x>", vias: int = 1,
    ) -> dict[bytes, list[bytes]]:  # fmt: skip
        """Carry out one REGISTER; return the headers of its answer by name."""
        if cseq is None:
            cseq = self.cseq = self.cseq + 1
        made = request(*lines, cseq=cseq, to=to, call_id=call_id, vias=vias)
        headers = register(made, flow, natted, self.location, self.terms, self.now)
        found: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            found.setdefault(name, []).append(value)
        return found

    def contacts(self, *lines: bytes, **given: int | bytes) -> list[bytes]:
        return self.ask(*lines, **given).get(b"Contact", [])  # type: ignore[arg-type]

    def refuses(self, status: int, *lines: bytes, **given: int | bytes) -> SipError:
        """Be sure that a REGISTER is refused, and that table and journal stay as they are."""
        before, written = self.bindings(), list(self.journal)
        with pytest.raises(SipError, match=str(status)) as caught:
            self.ask(*lines, **given)  # type: ignore[arg-type]
        assert caught.value.status == status
        assert self.bindings() == before
        assert self.journal == written
        return caught.value

    def bindings(self, aor: bytes = b"a") -> list[Binding]:
        return [replace(each) for each in self.location.bindings(aor, self.now) or []]

    def uris(self, aor: bytes = b"a") -> list[bytes]:
        return [each.contact for each in self.bindings(aor)]

    def records(self) -> dict[int, Record]:
        """Return what somebody who reads the journal knows, by id."""
        found: dict[int, Record] = {}
        for effect in self.journal:
            if isinstance(effect, Save):
                found[effect.record.id] = effect.record
            else:
                assert isinstance(effect, Forget)
                found.pop(effect.id, None)
        return found

    def kept(self) -> dict[int, bytes]:
        """Return the Contacts of those records."""
        return {number: record.contact for number, record in self.records().items()}


# Whose


@pytest.mark.parametrize(
    ("to", "aor"),
    [
        (b'"A" <sip:alice@example.org>;tag=1', b"alice"), (b"<sip:%61lice@x>", b"alice"),
        (b"<sip:al%2Fice@x>", b"al/ice"), (b"<sip:alice:secret@x>", b"alice"), (b"<sip:Alice@x>", b"Alice"),
        (b"sip:+4930@x;user=phone", b"+4930"), (b"<sips:alice@x:5061;transport=tls>", b"alice"),
        (b"<sip:a%40b@x>", b"a@b"),
    ],
)  # fmt: skip
def test_the_user_is_tos_with_its_escapes_undone(to: bytes, aor: bytes) -> None:
    registrar = Registrar()
    registrar.ask(b"m: " + PHONE, to=to)
    assert registrar.uris(aor) == [b"sip:a@10.0.0.9"]
    assert aor_of(request(to=to)).plain_user == aor


@pytest.mark.parametrize(
    ("to", "status"),
    [(b"<sip:example.org>", "404"), (b"<tel:+4930>", "400"), (b"<sip:>", "400"), (b"<sip:%b@x>" % (b"a" * 600), "400")],
)
def test_a_to_that_names_no_user_of_a_sip_domain_is_refused(to: bytes, status: str) -> None:
    with pytest.raises(SipError, match=status):
        aor_of(request(to=to))


# How long


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ((b"Contact: <sip:a@y>",), 3600),
        ((b"m: sip:a@y;expires=70",), 70),
        ((b"m: <sip:a@y>;EXPIRES=70", b"Expires: 90"), 70),
        ((b"m: <sip:a@y>", b"Expires: 90"), 90),
        ((b"m: <sip:a@y;expires=70>", b"Expires: 90"), 90),
        ((b"m: <sip:a@y>;expires=soon",), 3600),
        ((b"m: <sip:a@y>;expires=soon", b"Expires: 90"), 90),
        ((b"m: <sip:a@y>", b"Expires: 99999999999"), 3600),
        ((b"m: <sip:a@y>", b"Expires: 4294967295"), 7200),
        ((b"m: <sip:a@y>;expires=86400",), 7200),
        ((b"m: <sip:a@y>;expires=60",), 60),
    ],
)
def test_the_time_is_the_contacts_then_the_headers_then_ours(lines: tuple[bytes, ...], seconds: int) -> None:
    registrar = Registrar()
    assert registrar.contacts(*lines)[0].endswith(b">;expires=%d" % seconds)
    assert registrar.bindings()[0].expires_at == registrar.now + seconds


@pytest.mark.parametrize("lines", [(b"m: <sip:a@y>;expires=59",), (b"m: <sip:a@y>", b"Expires: 1")])
def test_too_short_a_time_is_423_with_what_would_do(lines: tuple[bytes, ...]) -> None:
    error = Registrar().refuses(423, *lines)
    assert error.headers == ((b"Min-Expires", b"60"),)


def test_one_contact_that_is_too_brief_spoils_the_whole_request() -> None:
    registrar = Registrar()
    registrar.ask(b"m: <sip:old@y>")
    registrar.refuses(423, b"m: <sip:old@y>;expires=0, <sip:b@y>;expires=100, <sip:c@y>;expires=1")


def test_a_binding_says_what_is_left_of_its_time() -> None:
    registrar = Registrar()
    registrar.ask(b"m: <sip:a@y>;expires=100")
    registrar.now += 39.6
    assert registrar.contacts() == [b"<sip:a@y>;expires=60"]
    registrar.now += 60.4
    assert registrar.contacts() == []


# Adding and removing


def test_several_contacts_in_one_line_and_in_several_are_all_saved_the_newest_first() -> None:
    registrar = Registrar()
    found = registrar.contacts(b"m: <sip:a@1.x>, <sip:a@2.x>", b"Contact: sip:a@3.x")
    assert [value.partition(b";")[0] for value in found] == [b"<sip:a@3.x>", b"<sip:a@2.x>", b"<sip:a@1.x>"]
    assert sorted(registrar.kept().values()) == [b"sip:a@1.x", b"sip:a@2.x", b"sip:a@3.x"]


def test_the_flow_is_stored_beside_the_contact_as_the_phone_wrote_it() -> None:
    registrar = Registrar()
    registrar.ask(b'm: "A" <sip:a@10.0.0.9:5070;ob;x=Y>;expires=100')
    (binding,) = registrar.bindings()
    assert (binding.contact, binding.flow, binding.natted) == (b"sip:a@10.0.0.9:5070;ob;x=Y", FLOW, True)
    registrar.ask(b"m: <sip:b@y>", natted=False)
    assert [each.natted for each in registrar.bindings()] == [False, True]


def test_a_contact_with_expires_0_is_removed_alone() -> None:
    registrar = Registrar()
    registrar.ask(b"m: <sip:a@y>, <sip:b@y>")
    assert registrar.contacts(b"m: <sip:a@y>;expires=0") == [b"<sip:b@y>;expires=3600"]
    assert list(registrar.kept().values()) == [b"sip:b@y"]
    assert registrar.contacts(b"m: <sip:nobody@y>", b"Expires: 0") == [b"<sip:b@y>;expires=3600"]


def test_one_request_may_remove_and_add() -> None:
    registrar = Registrar()
    registrar.ask(b"m: <sip:a@y>")
    registrar.ask(b"m: <sip:a@y>;expires=0, <sip:b@y>")
    assert registrar.uris() == [b"sip:b@y"]
    assert list(registrar.kept().values()) == [b"sip:b@y"]


def test_a_star_removes_all_of_one_user() -> None:
    registrar = Registrar()
    registrar.ask(b"m: <sip:a@y>, <sip:b@y>")
    registrar.ask(b"m: <sip:a@y>", to=b"<sip:other@x>", call_id=b"d")
    answer = registrar.ask(b"m: *", b"Expires: 0")
    assert b"Contact" not in answer
    assert registrar.uris() == []
    assert registrar.uris(b"other") == [b"sip:a@y"]
    assert list(registrar.kept().values()) == [b"sip:a@y"]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((b"m: *",), 400),
        ((b"m: *", b"Expires: 1"), 400),
        ((b"m: *", b"Expires: 60"), 400),
        ((b"m: *, <sip:a@y>", b"Expires: 0"), 400),
        ((b"m: <sip:a@y>", b"m: *", b"Expires: 0"), 400),
        ((b"m: <sip:a@>",), 400),
        ((b"m: <sip:b@y>, <sip:a@",), 400),
        ((b"m: <tel:1>",), 416),
        ((b"m: <sip:b@y>, <http://x/>",), 416),
    ],
)
def test_a_contact_that_cannot_be_kept_spoils_the_whole_request(lines: tuple[bytes, ...], status: int) -> None:
    registrar = Registrar()
    registrar.ask(b"m: <sip:a@y>")
    registrar.refuses(status, *lines)


def test_without_contact_a_register_asks_and_changes_nothing() -> None:
    registrar = Registrar()
    assert registrar.contacts() == []
    registrar.ask(b"m: <sip:a@y>")
    before, written = registrar.bindings(), list(registrar.journal)
    assert registrar.contacts(call_id=b"another") == [b"<sip:a@y>;expires=3600"]
    assert registrar.bindings() == before
    assert registrar.journal == written


# Order


def test_a_lower_cseq_of_the_same_call_id_is_refused() -> None:
    registrar = Registrar()
    registrar.ask(b"m: <sip:a@y>", cseq=5)
    registrar.refuses(500, b"m: <sip:a@y>;expires=0", cseq=4)
    registrar.refuses(500, b"m: *", b"Expires: 0", cseq=4)
    registrar.refuses(500, b"m: <sip:b@y>", cseq=4)
    registrar.ask(b"m: <sip:a@y>;expires=0", cseq=4, call_id=b"another")
    assert registrar.uris() == []


def test_the_second_copy_gets_the_same_answer_and_changes_nothing() -> None:
    registrar = Registrar()
    lines = (b"m: <sip:a@y>, <sip:b@y>;q=0.5", b"Expires: 100")
    first = registrar.ask(*lines, cseq=7)
    before, ids = registrar.bindings(), set(registrar.location.by_id)
    assert registrar.ask(*lines, cseq=7) == first
    assert registrar.bindings() == before
    assert set(registrar.location.by_id) == ids


def test_the_second_copy_of_a_removal_finds_nothing_to_remove() -> None:
    registrar = Registrar()
    registrar.ask(b"m: <sip:a@y>", cseq=1)
    for _ in range(2):
        assert registrar.contacts(b"m: <sip:a@y>;expires=0", cseq=2) == []


def test_a_refresh_takes_the_place_of_what_it_refreshes() -> None:
    registrar = Registrar()
    registrar.ask(b"m: <sip:a@y>, <sip:b@y>")
    ids = {each.contact: each.id for each in registrar.bindings()}
    registrar.now += 100
    registrar.ask(b"m: <sip:A@Y>;expires=200, <sip:a@Y;ob>;expires=300")
    assert registrar.uris() == [b"sip:a@Y;ob", b"sip:A@Y", b"sip:b@y"]
    found = {each.contact: each for each in registrar.bindings()}
    assert found[b"sip:a@Y;ob"].id == ids[b"sip:a@y"]
    assert found[b"sip:a@Y;ob"].expires_at == registrar.now + 300
    assert registrar.kept() == {each.id: each.contact for each in registrar.bindings()}


# Limits


def test_a_user_has_ten_phones_and_the_eleventh_is_503() -> None:
    registrar = Registrar()
    for number in range(MAX_BINDINGS_PER_AOR):
        registrar.ask(b"m: <sip:a@%d.x>" % number)
    registrar.refuses(503, b"m: <sip:a@new.x>")
    registrar.refuses(503, b"m: <sip:a@0.x>;expires=0, <sip:a@1.new>, <sip:a@2.new>")
    registrar.ask(b"m: <sip:a@0.x>;expires=0, <sip:a@new.x>")
    assert len(registrar.uris()) == MAX_BINDINGS_PER_AOR


def test_a_full_table_takes_no_new_user_and_keeps_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_AORS", 1)
    registrar = Registrar()
    registrar.ask(b"m: <sip:a@y>")
    registrar.refuses(503, b"m: <sip:a@y>", to=b"<sip:b@x>", call_id=b"d")
    assert registrar.uris(b"b") == []
    registrar.ask(b"m: <sip:b@y>")
    assert len(registrar.uris()) == 2


LONG = b"a" * 600


@pytest.mark.parametrize(
    "lines",
    [
        (b"m: <sip:" + LONG + b"@10.0.0.5>",), (b'm: <sip:a@y>;+sip.instance="<' + LONG + b'>"',),
        (b"k: path", b"Path: <sip:" + LONG + LONG + b";lr>", b"m: <sip:a@y>"),
    ],
)  # fmt: skip
def test_what_a_stranger_can_make_us_keep_is_short(lines: tuple[bytes, ...]) -> None:
    Registrar().refuses(400, *lines)


# q


@pytest.mark.parametrize(
    ("written", "thousandths"),
    [
        (b"1", 1000), (b"1.0", 1000), (b"1.000", 1000), (b"0", 0), (b"0.0", 0), (b"0.5", 500), (b".25", 250),
        (b"0.125", 125), (b"0.1239", 123), (b"7", 1000), (b"x", 1000), (b"-1", 1000), (b"", 1000), (b"0.x", 1000),
    ],
)  # fmt: skip
def test_q_is_kept_in_thousandths_and_what_is_no_number_is_1(written: bytes, thousandths: int) -> None:
    registrar = Registrar()
    (value,) = registrar.contacts(b"m: <sip:a@y>;q=" + written)
    assert registrar.bindings()[0].q == thousandths
    assert value == b"<sip:a@y>;expires=3600" + (b"" if thousandths == 1000 else b";q=0.%03d" % thousandths)


# NAT


def test_two_phones_of_one_user_with_the_same_private_contact_behind_two_nats_are_two() -> None:
    registrar = Registrar()
    registrar.ask(b"m: " + PHONE, call_id=b"one")
    registrar.ask(b"m: " + PHONE, call_id=b"two", flow=ELSEWHERE)
    assert [each.flow for each in registrar.bindings()] == [ELSEWHERE, FLOW]
    registrar.ask(b"m: " + PHONE + b";expires=0", call_id=b"one")
    assert [each.flow for each in registrar.bindings()] == [ELSEWHERE]


def test_the_same_private_contact_of_two_users_is_never_confused() -> None:
    registrar = Registrar()
    registrar.ask(b"m: " + PHONE)
    registrar.ask(b"m: " + PHONE, to=b"<sip:b@x>", flow=ELSEWHERE)
    registrar.ask(b"m: *", b"Expires: 0")
    assert registrar.uris() == []
    assert [each.flow for each in registrar.bindings(b"b")] == [ELSEWHERE]


def test_a_phone_that_comes_from_another_address_with_its_call_id_has_moved() -> None:
    registrar = Registrar()
    registrar.ask(b"m: " + PHONE)
    (before,) = registrar.bindings()
    registrar.ask(b"m: " + PHONE, flow=ELSEWHERE)
    (after,) = registrar.bindings()
    assert (after.id, after.flow) == (before.id, ELSEWHERE)
    assert FLOW.remote not in registrar.location.targets
    assert registrar.kept() == {before.id: b"sip:a@10.0.0.9"}


def test_a_phone_that_was_restarted_behind_its_nat_has_one_binding() -> None:
    """It has a new Call-ID and a new hole in the same router."""
    registrar = Registrar()
    registrar.ask(b"m: " + PHONE)
    moved = FLOW._replace(remote=(FLOW.remote[0], 41000))
    registrar.ask(b"m: " + PHONE, call_id=b"new", cseq=1, flow=moved)
    assert [each.flow for each in registrar.bindings()] == [moved]


def test_a_public_phone_has_one_binding_wherever_its_register_came_from() -> None:
    registrar = Registrar()
    registrar.ask(b"m: <sip:a@198.51.100.7>", natted=False)
    registrar.ask(b"m: <sip:a@198.51.100.7>", natted=False, call_id=b"new", flow=ELSEWHERE)
    assert [each.flow for each in registrar.bindings()] == [ELSEWHERE]


# Path and Service-Route


def test_a_path_is_kept_and_told_to_a_phone_that_knows_it() -> None:
    registrar = Registrar()
    lines = (b"m: " + PHONE, b"Supported: path", b"Path: <sip:edge;lr>, <sip:first;lr;ob>", b"Path: <sip:third;lr>")
    answer = registrar.ask(*lines, vias=2)
    assert answer[b"Path"] == [b"<sip:edge;lr>, <sip:first;lr;ob>, <sip:third;lr>"]
    assert registrar.bindings()[0].path == answer[b"Path"][0]


def test_a_path_that_the_phone_does_not_know_of_is_421() -> None:
    error = Registrar().refuses(421, b"m: " + PHONE, b"Path: <sip:edge;lr>", vias=2)
    assert error.headers == ((b"Require", b"path"),)


def test_service_routes_are_told_in_their_order_while_there_is_a_binding() -> None:
    routes = [b"<sip:one;lr>", b"<sip:two;lr>"]
    registrar = Registrar(replace(TERMS, service_routes=routes))
    assert b"Service-Route" not in registrar.ask()
    assert registrar.ask(b"m: " + PHONE)[b"Service-Route"] == routes
    assert b"Service-Route" not in registrar.ask(b"m: *", b"Expires: 0")


# Outbound


def test_each_reg_id_of_one_phone_is_a_flow_of_its_own() -> None:
    registrar = Registrar()
    one = registrar.ask(OUTBOUND % 1, SUPPORTED)
    assert one[b"Require"] == [b"outbound"]
    assert one[b"Flow-Timer"] == [b"120"]
    assert b";reg-id=1" in one[b"Contact"][0]
    registrar.ask(OUTBOUND % 2, SUPPORTED, flow=ELSEWHERE)
    assert [(each.reg_id, each.flow) for each in registrar.bindings()] == [(2, ELSEWHERE), (1, FLOW)]


def test_instance_and_reg_id_make_the_binding_whatever_contact_and_source() -> None:
    registrar = Registrar()
    registrar.ask(OUTBOUND % 1, SUPPORTED)
    moved = (OUTBOUND % 1).replace(b"10.0.0.9", b"10.0.0.10")
    registrar.ask(moved, SUPPORTED, call_id=b"after-reboot", cseq=1, flow=ELSEWHERE)
    assert [(each.contact, each.flow) for each in registrar.bindings()] == [(b"sip:a@10.0.0.10", ELSEWHERE)]


@pytest.mark.parametrize(
    "lines",
    [
        (OUTBOUND % 1, b"k: path"),
        (OUTBOUND % 0, SUPPORTED),
        (OUTBOUND % 2**31, SUPPORTED),
        (b"m: <sip:a@10.0.0.9>;reg-id=1", SUPPORTED),
        ((OUTBOUND % 1).replace(b"reg-id=1", b"reg-id=x"), SUPPORTED),
    ],
)
def test_without_instance_a_sound_reg_id_and_supported_it_is_an_ordinary_registration(lines: tuple[bytes, ...]) -> None:
    registrar = Registrar()
    answer = registrar.ask(*lines)
    assert b"Require" not in answer
    assert b"Flow-Timer" not in answer
    assert b"reg-id" not in answer[b"Contact"][0]
    assert registrar.bindings()[0].reg_id == 0


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ((), True),
        ((b"Path: <sip:first;lr>",), True),
        ((b"Path: <sip:second;lr;ob>, <sip:first;lr>",), True),
        ((b"Path: <sip:first;lr;ob>",), False),
        ((b"Path: <sip:second;lr>", b"Path: <sip:first;lr;ob>"), False),
    ],
)
def test_behind_a_first_proxy_that_does_no_outbound_it_is_439(path: tuple[bytes, ...], refused: bool) -> None:
    registrar = Registrar()
    if refused:
        registrar.refuses(439, OUTBOUND % 1, SUPPORTED, *path, vias=2)
    else:
        assert registrar.ask(OUTBOUND % 1, SUPPORTED, *path, vias=2)[b"Require"] == [b"outbound"]


def test_who_does_not_ask_for_outbound_needs_no_first_hop_that_does() -> None:
    assert len(Registrar().contacts(b"m: " + PHONE, SUPPORTED, vias=3)) == 1


# GRUU


def test_a_phone_with_an_instance_is_told_its_public_gruu_when_it_knows_what_that_is() -> None:
    registrar = Registrar()
    line = b'm: <sip:a@10.0.0.9>;+sip.instance="<%b>"' % URN
    (value,) = registrar.contacts(line, SUPPORTED, to=b'"A" <sip:a@x:5070;user=phone>')
    assert b'+sip.instance="<%b>"' % URN in value
    assert re.findall(rb'pub-gruu="([^"]*)"', value) == [b"sip:a@x:5070;gr=" + URN]
    (value,) = registrar.contacts(line, to=b"<sip:a@x>")
    assert b"pub-gruu" not in value
    assert b"temp-gruu" not in value


# Any order

STEPS = st.lists(
    st.tuples(
        st.sampled_from([b"one", b"two"]),  # Call-ID
        st.sampled_from([FLOW, ELSEWHERE]),
        st.booleans(),
        st.lists(
            st.tuples(st.sampled_from([b"sip:a@10.0.0.9", b"sip:a@y", b"sip:b@y;ob"]), st.sampled_from([0, 1, 60, 99])),
            max_size=3,
        ),
        st.sampled_from([0, 1, 30, 61]),  # seconds before
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(STEPS)
def test_table_and_journal_agree_after_whatever_was_asked(
    steps: list[tuple[bytes, Flow, bool, list[tuple[bytes, int]], int]],
) -> None:
    registrar = Registrar()
    for call_id, flow, natted, contacts, later in steps:
        registrar.now += later
        line = b"m: " + b", ".join(b"<%b>;expires=%d" % contact for contact in contacts)
        given = {"flow": flow, "natted": natted, "call_id": call_id}
        if any(seconds == 1 for _, seconds in contacts):
            registrar.refuses(423, line, **given)  # type: ignore[arg-type]
        else:
            registrar.ask(*([line] if contacts else []), **given)  # type: ignore[arg-type]
        now = registrar.bindings()
        assert registrar.records() == {each.id: each.record() for each in now}
        assert sorted(registrar.location.by_id) == sorted(each.id for each in now)
        assert all(each.expires_at > registrar.now for each in now)
        wanted = {each.flow.remote for each in now}
        assert {address for address in registrar.location.targets if address[1] != 5060} == wanted
