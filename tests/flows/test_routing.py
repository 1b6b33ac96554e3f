"""Where requests go: Route, binding, UA_MAPPING, Request-URI, in that order (RFC 3261 §16.4 to §16.6)."""

from __future__ import annotations

import pytest

from proxy.core.route import MappedUser
from proxy.sip.headers import parse_name_addr
from tests.flows.ladder import MAPPED_BOB, PROXY, Dialog, Ladder, alice, arrows, bob, carol

BEHIND = {"alice": MappedUser("10.77.1.100", 5060, "198.51.100.20", 40000)}


def dialog(ladder: Ladder) -> Dialog:
    """Return Alice's side of a call with Bob, who is in the static table."""
    phone, far = alice(), bob()
    ladder.one(phone.register(), phone.seen)
    invite = ladder.one(phone.request(b"INVITE", far.aor), phone.seen)
    return Dialog.of_caller(phone, ladder.one(far.answer(invite, 200), far.seen))


def test_route_comes_before_binding_mapping_and_request_uri() -> None:
    ladder, phone = Ladder(mapping=MAPPED_BOB), alice()
    call = dialog(ladder)
    call.routes = [call.routes[0], b"<sip:198.51.100.99;lr>"]
    ladder.one(bob().register(contact=b"<sip:bob@198.51.100.201>"), ("198.51.100.201", 5060))
    call.target = bob().aor
    sent = ladder.one(call.request(b"BYE"), phone.seen)
    assert sent.to == ("198.51.100.99", 5060)
    assert sent.start == b"BYE sip:bob@198.51.100.10 SIP/2.0"


def test_a_binding_comes_before_the_mapping() -> None:
    ladder, phone, caller = Ladder(mapping=BEHIND), alice(), bob()
    assert ladder.one(caller.request(b"INVITE", phone.aor), caller.seen).to == ("198.51.100.20", 40000)
    moved = ("198.51.100.20", 42222)
    ladder.one(phone.register(b"Expires: 60"), moved)
    assert ladder.one(caller.request(b"INVITE", phone.aor), caller.seen).to == moved
    ladder.now += 61
    assert ladder.one(caller.request(b"INVITE", phone.aor), caller.seen).to == ("198.51.100.20", 40000)


def test_a_mapped_user_behind_a_nat_is_reached_through_its_hole_and_sees_its_own_address() -> None:
    ladder, phone, caller = Ladder(mapping=BEHIND), alice(), bob()
    invite = ladder.one(caller.request(b"INVITE", phone.aor), caller.seen)
    assert (invite.to, invite.start) == (phone.seen, b"INVITE %b SIP/2.0" % phone.contact)
    answer = ladder.one(phone.answer(invite, 200), phone.seen)
    assert parse_name_addr(answer.values("Contact")[0]).parsed().address == phone.seen


def test_a_mapped_user_on_the_internet_is_reached_at_his_address() -> None:
    ladder, phone = Ladder(mapping=MAPPED_BOB), alice()
    sent = ladder.one(phone.request(b"INVITE", b"sip:bob@198.51.100.10;x=1"), phone.seen)
    assert (sent.to, sent.start) == (bob().seen, b"INVITE sip:bob@198.51.100.200:5060;x=1 SIP/2.0")


def test_a_mapped_users_private_address_as_request_uri_leads_through_his_hole() -> None:
    ladder, caller = Ladder(mapping=BEHIND), bob()
    assert ladder.one(caller.request(b"INVITE", b"sip:alice@10.77.1.100"), caller.seen).to == ("198.51.100.20", 40000)


def test_the_request_uri_decides_when_nothing_else_does_and_the_sender_may_send_anywhere() -> None:
    phone = alice()
    assert Ladder().status(phone.request(b"INVITE", b"sip:x@198.51.100.77:5080;y"), phone.seen) == 403
    ladder = Ladder(allowed=[phone.seen[0]])
    sent = ladder.one(phone.request(b"INVITE", b"sip:x@198.51.100.77:5080;y"), phone.seen)
    assert (sent.to, sent.start) == (("198.51.100.77", 5080), b"INVITE sip:x@198.51.100.77:5080;y SIP/2.0")


@pytest.mark.parametrize("host", [b"example.org", b"EXAMPLE.org", b"198.51.100.10", b"198.51.100.10:5060"])
def test_our_names_in_any_case_and_our_address_are_us(host: bytes) -> None:
    ladder, phone = Ladder(mapping=MAPPED_BOB), alice()
    assert ladder.one(phone.request(b"INVITE", b"sip:bob@" + host), phone.seen).to == bob().seen
    assert ladder.status(phone.request(b"OPTIONS", b"sip:" + host), phone.seen) == 200


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        (b"sip:nobody@198.51.100.10", 404),
        (b"sip:198.51.100.10", 404),
        (b"sip:x@127.0.0.1", 403),
        (b"sip:x@127.8.9.10:99", 403),
        (b"sip:x@224.0.0.1", 403),
        (b"sip:x@0.0.0.0", 403),
        (b"sip:x@255.255.255.255", 403),
        (b"sip:x@[::1]", 403),
        (b"sip:x@[ff02::1]", 403),
        (b"sip:x@[::ffff:127.0.0.1]", 403),
        (b"sip:x@[::FFFF:198.51.100.10]", 403),
        (b"sip:x@198.51.100.10:5061;transport=tls", 404),
        (b"tel:+4930123456", 416),
        (b"sip:x@198.51.100.77:0", 400),
        (b"sip:x@198.51.100.77:65536", 400),
        (b"sip:", 400),
    ],
)
def test_what_cannot_be_reached_is_refused(uri: bytes, status: int) -> None:
    """Even for a sender who may send to anywhere."""
    phone = alice()
    ladder = Ladder(allowed=[phone.seen[0]], also=("2001:db8::10", 5060), transports=("udp", "tcp", "tls"))
    *_, answer = ladder.send(phone.request(b"INVITE", uri), phone.seen)
    assert arrows([answer]) == [(str(status), phone.seen)]
    assert not any(sent.to[0] != phone.seen[0] for sent in ladder.send(phone.request(b"INVITE", uri), phone.seen))


@pytest.mark.parametrize("uri", [b"sip:x@[2001:db8::1]", b"sip:x@198.51.100.77;transport=ws", b"sips:x@198.51.100.77"])
def test_a_transport_or_an_ip_version_that_we_do_not_speak_is_an_error_of_ours(uri: bytes) -> None:
    phone = alice()
    ladder = Ladder(allowed=[phone.seen[0]])
    assert ladder.status(phone.request(b"INVITE", uri), phone.seen) == 500


def test_a_name_is_looked_up_for_who_may_send_there() -> None:
    phone = alice()
    data = phone.request(b"INVITE", b"sip:x@elsewhere.example.com")
    assert Ladder().status(data, phone.seen) == 403
    ladder = Ladder(allowed=[phone.seen[0]])
    assert ladder.send(data, phone.seen) == []
    (wanted,) = ladder.lookups
    assert (wanted.host, wanted.port, wanted.transport) == ("elsewhere.example.com", None, None)
    assert arrows(ladder.locate(("udp", ("198.51.100.77", 5080)))) == [("INVITE", ("198.51.100.77", 5080))]


def test_loopback_is_allowed_to_a_proxy_that_lives_there() -> None:
    ladder = Ladder(here=("127.0.0.1", 5060), allowed=["127.0.0.1"])
    sent = ladder.one(alice().request(b"INVITE", b"sip:x@127.0.0.1:5070"), ("127.0.0.1", 5080))
    assert sent.to == ("127.0.0.1", 5070)


def test_a_binding_or_a_route_cannot_lead_to_loopback_either() -> None:
    ladder, phone, caller = Ladder({"flow"}, MAPPED_BOB), alice(), bob()
    ladder.one(phone.register(contact=b"<sip:alice@127.0.0.1:22>"), phone.seen)
    assert ladder.status(caller.request(b"INVITE", phone.aor), caller.seen) == 403
    call = dialog(ladder)
    call.routes.append(b"<sip:127.0.0.1:22;lr>")
    assert ladder.status(call.request(b"BYE"), phone.seen) == 403


def test_a_request_that_would_come_back_to_us_is_refused() -> None:
    ladder, phone, caller = Ladder({"flow"}), alice(), bob()
    ladder.one(phone.register(contact=b"<sip:alice@198.51.100.10>"), phone.seen)
    assert ladder.status(caller.request(b"INVITE", phone.aor), caller.seen) == 482


# Forged and preloaded routes


def test_a_preloaded_route_to_us_alone_is_consumed() -> None:
    ladder, phone = Ladder(mapping=MAPPED_BOB), alice()
    sent = ladder.one(phone.request(b"INVITE", bob().aor, b"Route: <sip:198.51.100.10;lr>"), phone.seen)
    assert (sent.to, sent.values("Route")) == (bob().seen, [])


@pytest.mark.parametrize(
    "routes",
    [
        b"Route: <sip:198.51.100.99;lr>",
        b"Route: <sip:198.51.100.10;lr>, <sip:198.51.100.99;lr>",
        b"Route: <sip:example.org;lr>\r\nRoute: <sip:198.51.100.99;lr>",
    ],
)
def test_the_preloaded_route_of_a_stranger_is_dropped(routes: bytes) -> None:
    ladder, phone = Ladder(mapping=MAPPED_BOB), alice()
    sent = ladder.one(phone.request(b"INVITE", bob().aor, routes), phone.seen)
    assert (sent.to, sent.values("Route")) == (bob().seen, [])


def test_a_forged_route_token_is_refused() -> None:
    ladder, phone = Ladder(mapping=MAPPED_BOB), alice()
    call = dialog(ladder)
    route = call.routes[0]
    for forged in (route[:-2] + b"_>", route.replace(b";d=", b";d=A"), b"<sip:198.51.100.10;lr;d>"):
        call.routes = [forged, b"<sip:198.51.100.99;lr>"]
        assert ladder.status(call.request(b"BYE"), phone.seen) == 403


def test_the_route_token_of_another_call_is_refused() -> None:
    ladder, phone = Ladder(mapping=MAPPED_BOB), alice()
    call = dialog(ladder)
    call.call_id = b"another"
    assert ladder.status(call.request(b"BYE"), phone.seen) == 403


def test_a_route_line_with_nothing_in_it_is_passed_over() -> None:
    ladder, phone = Ladder(mapping=MAPPED_BOB), alice()
    call = dialog(ladder)
    call.routes.append(b",")
    assert ladder.one(call.request(b"BYE"), phone.seen).to == bob().seen
    call.routes.insert(0, b" , ")
    assert ladder.one(call.request(b"BYE", cseq=10), phone.seen).to == bob().seen


def test_a_route_that_bears_a_name_is_looked_up() -> None:
    ladder, phone = Ladder(mapping=MAPPED_BOB), alice()
    call = dialog(ladder)
    call.routes.append(b"<sip:proxy.example.com;lr>")
    assert ladder.send(call.request(b"BYE"), phone.seen) == []
    assert ladder.lookups[-1].host == "proxy.example.com"
    assert arrows(ladder.locate(status=502)) == [("502", phone.seen)]


# Forged answers


def test_an_answer_with_a_forged_branch_is_dropped() -> None:
    ladder, phone, far = Ladder(mapping=MAPPED_BOB), alice(), bob()
    invite = ladder.one(phone.request(b"INVITE", far.aor), phone.seen)
    answer = far.answer(invite, 200)
    branch = invite.via().param(b"branch") or b""
    for forged in (
        answer.replace(branch, branch[:-1] + (b"A" if branch[-1:] != b"A" else b"B")),
        answer.replace(branch, branch.replace(b"z9hG4bK", b"z9hG4bKn")),
        answer.replace(branch, b"z9hG4bK"),
        answer.replace(b";branch=" + branch, b""),
        answer.replace(b"1 INVITE", b"1 BYE"),
    ):
        assert forged != answer
        assert ladder.send(forged, far.seen) == []
    assert ladder.engine.counts["stray-response"] == 5
    assert ladder.one(answer, far.seen).to == phone.seen


def test_an_answer_with_another_way_back_in_its_vias_goes_where_its_request_came_from() -> None:
    ladder, phone, far = Ladder(mapping=MAPPED_BOB), alice(), bob()
    invite = ladder.one(phone.request(b"INVITE", far.aor), phone.seen)
    answer = far.answer(invite, 200)
    for old, new in ((b"rport=40000", b"rport=40001"), (b"received=198.51.100.20", b"received=198.51.100.77")):
        assert old in answer
        assert ladder.one(answer.replace(old, new), far.seen).to == phone.seen


def test_an_answer_whose_top_via_is_not_ours_is_dropped() -> None:
    ladder, phone, far = Ladder(mapping=MAPPED_BOB), alice(), bob()
    answer = far.answer(ladder.one(phone.request(b"INVITE", far.aor), phone.seen), 200)
    assert ladder.send(answer.replace(b"UDP 198.51.100.10:5060", b"UDP 198.51.100.99:5060"), far.seen) == []
    assert ladder.engine.counts["foreign-response"] == 1


def test_an_answer_that_is_not_for_us_is_dropped() -> None:
    ladder, phone, far = Ladder(mapping=MAPPED_BOB), alice(), bob()
    invite = ladder.one(phone.request(b"INVITE", far.aor), phone.seen)
    answer = far.answer(invite, 200)
    top = b"Via: " + invite.values("Via")[0] + b"\r\n"
    below = b"Via: " + invite.values("Via")[1] + b"\r\n"
    assert ladder.send(answer.replace(top, b""), far.seen) == []
    assert ladder.send(answer.replace(below, b""), far.seen) == []
    assert ladder.send(answer.replace(top, b"Via: nonsense\r\n"), far.seen) == []
    assert ladder.send(answer.replace(top, b"").replace(below, b""), far.seen) == []
    assert [note.name for note in ladder.notes[-4:]] == ["message-dropped"] * 4


def test_an_answer_shorter_than_it_says_is_dropped() -> None:
    ladder, phone, far = Ladder(mapping=MAPPED_BOB), alice(), bob()
    invite = ladder.one(phone.request(b"INVITE", far.aor), phone.seen)
    answer = far.answer(invite, 200).replace(b"Content-Length: 0", b"Content-Length: 5")
    assert ladder.send(answer + b"1234", far.seen) == []
    assert ladder.one(answer + b"12345678", far.seen).message.body == b"12345"


def test_a_phone_that_shares_a_private_address_never_gets_the_others_request() -> None:
    ladder, first, second, far = Ladder(mapping=MAPPED_BOB), alice(), carol(), bob()
    for phone in (first, second):
        sent = ladder.one(phone.request(b"INVITE", far.aor, call_id=phone.name.encode()), phone.seen)
        far.cseq += 1
        bye = ladder.one(Dialog.of_callee(far, sent).request(b"BYE", cseq=far.cseq), far.seen)
        assert (bye.to, bye.start) == (phone.seen, b"BYE %b SIP/2.0" % phone.contact)


def test_the_proxy_names_itself_by_the_advertised_address() -> None:
    ladder, phone = Ladder(mapping=MAPPED_BOB), alice()
    sent = ladder.one(phone.request(b"INVITE", bob().aor), phone.seen)
    assert parse_name_addr(sent.values("Record-Route")[0]).parsed().address == sent.via().sent_by == PROXY
