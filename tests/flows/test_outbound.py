"""Path (RFC 3327), Service-Route (3608), outbound (5626) and GRUU (5627), as registrar and as edge proxy."""

from __future__ import annotations

import pytest

from proxy.core.registrar import Terms
from proxy.sip.headers import parse_name_addr
from tests.flows.ladder import Dialog, Ladder, Phone, Sent, alice, arrows, bob

A, B = alice().seen, bob().seen
EDGE = ("198.51.100.50", 5060)
URN = b"urn:uuid:00000000-0000-1000-8000-000a95a0e128"


def phone(number: int = 1) -> Phone:
    """Return Alice's phone on one of its connections."""
    seen = ("198.51.100.20", 40000 + number)
    return Phone("alice", ("10.77.1.100", 5060), seen, b"flow-%d" % number, transport="tcp", connection=number)


def contact(each: Phone, reg_id: int = 1, urn: bytes = URN, more: bytes = b"") -> bytes:
    return b'<%b>;+sip.instance="<%b>";reg-id=%d%b' % (each.contact, urn, reg_id, more)


def register(ladder: Ladder, each: Phone, *lines: bytes, given: bytes | None = None) -> Sent:
    """Register a flow with outbound."""
    value = contact(each) if given is None else given
    supported = (b"Supported: path, outbound", *lines)
    (answer,) = ladder.says(each, each.register(*supported, contact=value, call_id=each.call_id))
    return answer


def call(ladder: Ladder, uri: bytes = alice().aor) -> list[Sent]:
    return ladder.says(bob(), bob().request(b"INVITE", uri, cseq=ladder.engine.counts["requests"]))


# As registrar


def test_a_flow_that_is_registered_with_outbound_is_told_how_often_to_keep_it_alive() -> None:
    """RFC 5626 §6, §5.4."""
    ok = register(Ladder(terms=Terms(flow_timer_s=95)), phone())
    assert (ok.what, ok.header("Require"), ok.header("Flow-Timer")) == ("200", b"outbound", b"95")
    assert b'+sip.instance="<%b>"' % URN in ok.values("Contact")[0]
    assert b";reg-id=1" in ok.values("Contact")[0]


def test_without_outbound_in_supported_it_is_an_ordinary_registration() -> None:
    ladder, each = Ladder(), phone()
    (ok,) = ladder.says(each, each.register(contact=contact(each)))
    assert (ok.what, ok.header("Require"), ok.header("Flow-Timer")) == ("200", None, None)
    assert b"reg-id" not in ok.values("Contact")[0]


def test_the_same_instance_and_reg_id_take_the_place_of_the_old_flow() -> None:
    """RFC 5626 §6: whatever the Contact and the Call-ID are."""
    ladder = Ladder()
    register(ladder, phone(1))
    assert len(register(ladder, phone(2)).values("Contact")) == 1
    (invite,) = call(ladder)
    assert invite.flow.connection == 2


def test_of_two_flows_to_one_phone_one_is_used_and_the_other_when_it_fails() -> None:
    """RFC 5626 §5.3: never two targets of one instance at a time; the flow that failed is forgotten."""
    ladder = Ladder()
    register(ladder, phone(1))
    register(ladder, phone(2), given=contact(phone(2), reg_id=2))
    assert len(ladder.location.by_id) == 2
    (invite,) = call(ladder)
    assert invite.flow.connection == 2
    (again,) = ladder.fail(invite)
    assert (again.what, again.flow.connection) == ("INVITE", 1)
    assert len(ladder.location.by_id) == 1
    assert arrows(ladder.fail(again)) == [("480", B)]
    assert ladder.location.by_id == {}


def test_a_phone_that_has_answered_is_not_asked_by_its_other_flow() -> None:
    ladder = Ladder()
    register(ladder, phone(1))
    register(ladder, phone(2), given=contact(phone(2), reg_id=2))
    (invite,) = call(ladder)
    assert arrows(ladder.says(phone(2), phone(2).answer(invite, 486))) == [("ACK", phone(2).seen), ("486", B)]


def test_a_phone_that_is_silent_is_asked_by_its_other_flow() -> None:
    """RFC 5626 §5.3: a 408 is no answer of the phone's."""
    ladder = Ladder()
    register(ladder, phone(1))
    register(ladder, phone(2), given=contact(phone(2), reg_id=2))
    call(ladder)
    assert [(after, each.what, each.to) for after, each in ladder.wait(33)] == [(32, "INVITE", phone(1).seen)]


def test_two_phones_with_two_flows_each_ring_once_each() -> None:
    ladder = Ladder()
    for number, reg_id, urn in ((1, 1, URN), (2, 2, URN), (3, 1, b"urn:uuid:b"), (4, 2, b"urn:uuid:b")):
        register(ladder, phone(number), given=contact(phone(number), reg_id, urn))
    assert sorted(invite.flow.connection for invite in call(ladder)) == [2, 4]


def test_a_first_hop_that_does_not_do_outbound_is_439() -> None:
    """RFC 5626 §6: then nobody keeps the flow."""
    ladder = Ladder()
    data = phone().register(b"Supported: path, outbound", contact=contact(phone()))
    through = data.replace(b"Via: ", b"Via: SIP/2.0/UDP 198.51.100.50:5060;branch=z9hG4bK-e\r\nVia: ", 1)
    assert ladder.status(through, EDGE) == 439
    path = b"\r\nPath: <sip:198.51.100.50;lr%b>\r\nCSeq: "
    assert ladder.status(through.replace(b"\r\nCSeq: ", path % b""), EDGE) == 439
    assert ladder.status(through.replace(b"\r\nCSeq: ", path % b";ob"), EDGE) == 200


def test_a_path_is_kept_told_and_used_as_route() -> None:
    """RFC 3327 §5.3."""
    ladder = Ladder()
    path = b"<sip:198.51.100.50;lr;ob>, <sip:198.51.100.51;lr>"
    ok = ladder.one(alice().register(b"Supported: path", b"Path: " + path), EDGE)
    assert (ok.what, ok.header("Path")) == ("200", path)
    (invite,) = call(ladder)
    assert (invite.to, invite.values("Route")) == (EDGE, [b"<sip:198.51.100.50;lr;ob>", b"<sip:198.51.100.51;lr>"])
    assert invite.start == b"INVITE %b SIP/2.0" % alice().contact


def test_a_path_from_who_does_not_support_it_is_421() -> None:
    ladder = Ladder()
    answer = ladder.one(alice().register(b"Path: <sip:198.51.100.50;lr>"), EDGE)
    assert (answer.what, answer.header("Require")) == ("421", b"path")
    assert ladder.location.by_id == {}


def test_a_430_of_the_edge_proxy_gives_the_other_flow_its_turn_and_never_reaches_the_caller() -> None:
    """RFC 5626 §5.3, §11.1: endpoints never receive it."""
    ladder = Ladder()
    for number in (1, 2):
        path = b"Path: <sip:198.51.100.5%d;lr;ob>" % number
        data = alice().register(
            b"Supported: path, outbound", path, contact=contact(alice(), number), call_id=b"flow-%d" % number
        )
        assert ladder.status(data, (f"198.51.100.5{number}", 5060)) == 200
    (first,) = call(ladder)
    assert first.to == ("198.51.100.52", 5060)
    ack, second = ladder.send(alice().answer(first, 430), first.to)
    assert arrows([ack, second]) == [("ACK", first.to), ("INVITE", ("198.51.100.51", 5060))]
    *_, failed = ladder.send(alice().answer(second, 430), second.to)
    assert arrows([failed]) == [("480", B)]


def test_service_routes_are_told_in_their_order() -> None:
    """RFC 3608 §6.3."""
    routes = [b"<sip:198.51.100.60;lr>", b"<sip:198.51.100.10;lr>"]
    ladder = Ladder(terms=Terms(service_routes=routes))
    assert ladder.one(alice().register(), A).values("Service-Route") == routes
    assert ladder.one(alice().register(b"Expires: 0", contact=b"*", cseq=9), A).values("Service-Route") == []


def test_a_gruu_names_one_phone_of_a_user() -> None:
    """RFC 5627 §5.4 and §6.1."""
    ladder = Ladder()
    for number, urn in ((1, URN), (2, b"urn:uuid:b")):
        ok = register(ladder, phone(number), b"Supported: gruu", given=contact(phone(number), 1, urn))
        assert b'pub-gruu="sip:alice@198.51.100.10;gr=%b"' % urn in ok.values("Contact")[0]
    assert len(call(ladder)) == 2
    (invite,) = call(ladder, b"sip:alice@198.51.100.10;gr=" + URN)
    assert (invite.flow.connection, invite.start) == (1, b"INVITE %b SIP/2.0" % phone(1).contact)
    assert arrows(call(ladder, b"sip:alice@198.51.100.10;gr=urn:uuid:c")) == [("480", B)]


def test_no_gruu_is_told_to_who_does_not_support_it() -> None:
    assert b"gruu" not in register(Ladder(), phone()).values("Contact")[0]


# As edge proxy: the registrar is elsewhere

REGISTRAR = ("198.51.100.77", 5060)


def forwarded(ladder: Ladder, each: Phone) -> Sent:
    """Return a REGISTER for elsewhere as it leaves."""
    data = each.request(b"REGISTER", b"sip:198.51.100.77", b"Supported: path, outbound", contact=contact(each))
    (sent,) = ladder.says(each, data)
    assert arrows([sent]) == [("REGISTER", REGISTRAR)]
    return sent


def back(path: bytes, target: bytes, call_id: bytes = b"back") -> bytes:
    """Return an INVITE of the registrar's for that phone."""
    far = Phone("registrar", REGISTRAR, REGISTRAR, call_id)
    return far.request(b"INVITE", target, b"Route: " + path, branch=b"z9hG4bK-" + call_id)


@pytest.mark.parametrize("each", [alice(), phone()], ids=["udp", "tcp"])
def test_a_register_that_passes_us_gets_our_path_and_the_flow_is_found_again(each: Phone) -> None:
    """RFC 5626 §5.1 to §5.3: the token names the flow; the registrar's INVITE leaves on it, and on no other."""
    ladder = Ladder(allowed=[A[0], REGISTRAR[0]])
    sent = forwarded(ladder, each)
    (path,) = sent.values("Path")
    uri = parse_name_addr(path).parsed()
    assert (uri.address, uri.param(b"lr"), uri.param(b"ob")) == (ladder.here, b"", b"")
    assert sent.values("Contact") == [contact(each)]
    assert sent.header("Record-Route") is None
    (invite,) = ladder.send(back(path, each.contact), REGISTRAR)
    assert (invite.to, invite.flow.connection, invite.may_open) == (each.seen, each.connection, False)
    assert (invite.start, invite.values("Route")) == (b"INVITE %b SIP/2.0" % each.contact, [])
    (ok,) = ladder.says(each, each.answer(invite, 200))
    registrar = Phone("registrar", REGISTRAR, REGISTRAR, b"back")
    (bye,) = ladder.send(Dialog.of_caller(registrar, ok).request(b"BYE"), REGISTRAR)
    assert (bye.to, bye.start) == (each.seen, b"BYE %b SIP/2.0" % each.contact)


def test_the_registrar_is_told_when_the_flow_is_gone() -> None:
    """RFC 5626 §5.3.1: 430, so that it tries another."""
    ladder = Ladder(allowed=[A[0], REGISTRAR[0]])
    (path,) = forwarded(ladder, phone()).values("Path")
    (invite,) = ladder.send(back(path, phone().contact), REGISTRAR)
    assert arrows(ladder.fail(invite)) == [("430", REGISTRAR)]


def test_a_forged_or_stale_flow_token_is_403() -> None:
    ladder = Ladder(allowed=[A[0], REGISTRAR[0]])
    (path,) = forwarded(ladder, phone()).values("Path")
    token = path.partition(b";f=")[2].rstrip(b">")
    for number, forged in enumerate((b"x", b"", token[:-1] + b"!", b"A" + token, token.replace(b".", b".0", 1))):
        data = back(path.replace(token, forged), phone().contact, b"forged-%d" % number)
        assert ladder.status(data, REGISTRAR) == 403
    ladder.now += 2 * 86_400
    assert ladder.status(back(path, phone().contact, b"late"), REGISTRAR) == 403


def test_no_path_is_forced_on_a_phone_that_does_not_support_it() -> None:
    """RFC 3327 §5.1."""
    ladder, each = Ladder(allowed=[A[0]]), alice()
    (sent,) = ladder.says(each, each.request(b"REGISTER", b"sip:198.51.100.77"))
    assert sent.header("Path") is None
