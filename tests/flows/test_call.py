"""Whole calls through the engine: Alice behind a NAT, Bob on the Internet (RFC 3261 §12, §16)."""

from __future__ import annotations

import pytest

from proxy.core.signer import TOKEN_LIFETIME_S
from proxy.sip.headers import parse_name_addr
from tests.flows.follow import ack, cancel
from tests.flows.ladder import MAPPED_BOB, PROXY, Dialog, Ladder, Phone, Sent, alice, arrows, bob, carol


def call(ladder: Ladder, caller: Phone, callee: Phone) -> tuple[Sent, Sent]:
    """Place a call; return the INVITE as the callee saw it and the 200 as the caller saw it."""
    invite = ladder.one(caller.request(b"INVITE", callee.aor, cseq=1, body=b"v=0\r\n"), caller.seen)
    assert invite.to == callee.seen
    ringing = ladder.one(callee.answer(invite, 180), callee.seen)
    answer = ladder.one(callee.answer(invite, 200), callee.seen)
    assert ringing.to == answer.to == caller.seen
    ack = Dialog.of_caller(caller, answer).request(b"ACK", cseq=1)
    assert ladder.one(ack, caller.seen).to == callee.seen
    return invite, answer


def registered(*phones: Phone) -> Ladder:
    ladder = Ladder()
    for phone in phones:
        ladder.one(phone.register(), phone.seen)
    return ladder


def test_the_forwarded_invite_has_our_via_above_the_stamped_one_and_its_body() -> None:
    caller, callee = alice(), bob()
    invite = registered(callee).one(caller.request(b"INVITE", callee.aor, body=b"v=0\r\n"), caller.seen)
    assert invite.via(0).sent_by == PROXY
    assert (invite.via(0).param(b"branch") or b"").startswith(b"z9hG4bK")
    assert invite.via(1).sent_by == caller.own
    assert invite.via(1).param(b"received") == b"198.51.100.20"
    assert invite.via(1).param(b"rport") == b"40000"
    assert invite.header("Max-Forwards") == b"69"
    assert invite.header("Record-Route")
    assert invite.message.body == b"v=0\r\n"


def test_alice_calls_and_the_proxy_loses_its_via_on_the_way_back() -> None:
    caller, callee = alice(), bob()
    _, answer = call(registered(callee), caller, callee)
    assert len(answer.values("Via")) == 1
    assert answer.header("Contact") == b"<%b>" % callee.contact


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("phones", [(alice(), bob()), (bob(), alice()), (alice(), carol())])
def test_either_side_hangs_up_and_the_other_sees_its_own_contact(phones: tuple[Phone, Phone], who: str) -> None:
    caller, callee = phones
    ladder = registered(caller, callee)
    invite, answer = call(ladder, caller, callee)
    if who == "caller":
        quitter, other, dialog = caller, callee, Dialog.of_caller(caller, answer)
    else:
        quitter, other, dialog = callee, caller, Dialog.of_callee(callee, invite)
    assert dialog.first_hop() == PROXY
    bye = ladder.one(dialog.request(b"BYE"), quitter.seen)
    assert bye.to == other.seen
    assert bye.start == b"BYE %b SIP/2.0" % other.contact
    assert bye.values("Route") == []
    done = ladder.one(other.answer(bye, 200, contact=b""), other.seen)
    assert done.to == quitter.seen
    assert len(done.values("Via")) == 1


def test_a_reinvite_from_the_far_end_reaches_the_phone_as_its_own_contact() -> None:
    caller, callee = alice(), bob()
    ladder = registered(callee)
    invite, _ = call(ladder, caller, callee)
    again = ladder.one(Dialog.of_callee(callee, invite).request(b"INVITE"), callee.seen)
    assert again.start == b"INVITE %b SIP/2.0" % caller.contact
    answer = ladder.one(caller.answer(again, 200), caller.seen)
    assert parse_name_addr(answer.values("Contact")[0]).parsed().address == caller.seen


def test_bob_calls_alice_by_the_stored_flow_and_sees_her_public_contact() -> None:
    caller, callee = bob(), alice()
    _, answer = call(registered(callee), caller, callee)
    contact = parse_name_addr(answer.values("Contact")[0]).parsed()
    assert contact.address == callee.seen
    assert contact.user == b"alice"


def test_bobs_ack_and_bye_find_alice_when_her_registration_is_gone() -> None:
    caller, callee = bob(), alice()
    ladder = registered(callee)
    _, answer = call(ladder, caller, callee)
    ladder.now += 80_000
    assert ladder.location.bindings(b"alice", ladder.now) == []
    assert ladder.one(Dialog.of_caller(caller, answer).request(b"BYE"), caller.seen).to == callee.seen


def test_a_day_after_the_call_began_its_tokens_are_worth_nothing() -> None:
    caller, callee = bob(), alice()
    ladder = registered(callee)
    _, answer = call(ladder, caller, callee)
    ladder.now += TOKEN_LIFETIME_S + 901
    assert ladder.status(Dialog.of_caller(caller, answer).request(b"BYE"), caller.seen) == 403


def test_a_dialog_restarted_with_the_same_key_still_finds_its_way() -> None:
    caller, callee = alice(), bob()
    invite, _ = call(registered(callee), caller, callee)
    bye = Ladder().one(Dialog.of_callee(callee, invite).request(b"BYE"), callee.seen)
    assert bye.to == caller.seen


def test_a_static_bob_can_be_called_without_registration() -> None:
    caller, callee = alice(), bob()
    ladder = Ladder(mapping=MAPPED_BOB)
    invite, _ = call(ladder, caller, callee)
    bye = ladder.one(Dialog.of_callee(callee, invite).request(b"BYE"), callee.seen)
    assert (bye.to, bye.start) == (caller.seen, b"BYE %b SIP/2.0" % caller.contact)


def test_an_error_is_acknowledged_by_us_and_takes_the_same_way_back() -> None:
    """RFC 3261 §17.1.1.3: the ACK for it is hop by hop, and so is the caller's."""
    caller, callee = alice(), bob()
    ladder = registered(callee)
    data = caller.request(b"INVITE", callee.aor)
    invite = ladder.one(data, caller.seen)
    ours, answer = ladder.send(callee.answer(invite, 486), callee.seen)
    assert arrows([ours, answer]) == [("ACK", callee.seen), ("486", caller.seen)]
    assert ours.values("Via") == invite.values("Via")[:1]
    assert ours.start.split()[1] == invite.start.split()[1]
    assert ours.header("To") == answer.header("To")
    assert ours.header("CSeq") == b"1 ACK"
    for _ in range(2):
        assert ladder.send(ack(data, answer), caller.seen) == []


def test_cancel_is_answered_and_takes_the_branch_and_the_way_of_its_invite() -> None:
    caller, callee = alice(), bob()
    ladder = registered(callee)
    data = caller.request(b"INVITE", callee.aor)
    invite = ladder.one(data, caller.seen)
    ladder.one(callee.answer(invite, 180), callee.seen)
    ok, ours = ladder.send(cancel(data), caller.seen)
    assert arrows([ok, ours]) == [("200", caller.seen), ("CANCEL", callee.seen)]
    assert ok.header("CSeq") == b"1 CANCEL"
    assert ours.start.split()[1] == invite.start.split()[1]
    assert ours.values("Via") == invite.values("Via")[:1]
    other = ladder.one(caller.request(b"INVITE", callee.aor), caller.seen)
    assert other.via().param(b"branch") != invite.via().param(b"branch")


def test_a_retransmission_of_a_request_gets_the_last_answer_and_goes_no_further() -> None:
    caller, callee = alice(), bob()
    ladder = registered(callee)
    data = caller.request(b"INVITE", callee.aor, body=b"v=0\r\n")
    trying, invite = ladder.says_all(caller, data)
    assert arrows([trying, invite]) == [("100", caller.seen), ("INVITE", callee.seen)]
    assert [each.data for each in ladder.says_all(caller, data)] == [trying.data]
    ringing = ladder.one(callee.answer(invite, 180), callee.seen)
    assert ladder.one(data, caller.seen).data == ringing.data


def test_every_copy_of_a_2xx_is_passed_on_as_the_very_same_bytes() -> None:
    """The callee repeats it until the ACK comes (RFC 3261 §13.3.1.4): an INVITE that comes late is absorbed."""
    caller, callee = alice(), bob()
    ladder = registered(callee)
    data = caller.request(b"INVITE", callee.aor)
    ok = callee.answer(ladder.one(data, caller.seen), 200)
    assert ladder.one(ok, callee.seen).data == ladder.one(ok, callee.seen).data
    assert ladder.send(data, caller.seen) == []


def test_several_vias_in_one_answer_line_are_taken_apart() -> None:
    """SIPp's [last_Via:] joins them with commas."""
    caller, callee = alice(), bob()
    ladder = registered(callee)
    invite = ladder.one(caller.request(b"INVITE", callee.aor), caller.seen)
    vias = invite.values("Via")
    apart = b"Via: " + b"\r\nVia: ".join(vias)
    data = callee.answer(invite, 200)
    assert apart in data
    answer = ladder.one(data.replace(apart, b"v: " + b" , ".join(vias)), callee.seen)
    assert (answer.to, answer.values("Via")) == (caller.seen, vias[1:])


def test_any_other_method_and_unknown_headers_pass_byte_for_byte() -> None:
    caller, callee = alice(), bob()
    ladder = registered(callee)
    odd = (b'X-Odd:\tone,, ;"two\\"\r\n  folded \xff\xfe', b"x-ODD : again ")
    body = bytes(range(256))
    sent = ladder.one(caller.request(b"MESSAGE", callee.aor, *odd, body=body), caller.seen)
    assert b"\r\n".join(odd) in sent.data
    assert sent.message.body == body
    assert sent.header("Record-Route") is None
    assert ladder.one(caller.request(b"x-Ping!", callee.aor), caller.seen).start.startswith(b"x-Ping! ")


def test_an_answer_passes_byte_for_byte_but_for_via_and_contact() -> None:
    caller, callee = alice(), bob()
    ladder = registered(callee)
    invite = ladder.one(caller.request(b"INVITE", callee.aor), caller.seen)
    data = callee.answer(invite, 200, b"X-Odd:  kept \r\n\tfolded")
    ours = b"Via: " + invite.values("Via")[0] + b"\r\n"
    assert ladder.one(data, callee.seen).data == data.replace(ours, b"")


def test_a_proxy_between_us_and_the_callee_keeps_its_place_in_the_route() -> None:
    """Bob's own proxy record-routes below us: Alice's BYE passes it."""
    caller, callee = alice(), bob()
    ladder = registered(caller, callee)
    invite = ladder.one(caller.request(b"INVITE", callee.aor), caller.seen)
    further = b"Record-Route: <sip:198.51.100.99;lr>\r\nRecord-Route:"
    answer = ladder.one(callee.answer(invite, 200).replace(b"Record-Route:", further, 1), callee.seen)
    bye = ladder.one(Dialog.of_caller(caller, answer).request(b"BYE"), caller.seen)
    assert bye.to == ("198.51.100.99", 5060)
    assert bye.start == b"BYE %b SIP/2.0" % callee.contact
    assert bye.values("Route") == [b"<sip:198.51.100.99;lr>"]


def test_strict_next_hop_gets_itself_as_request_uri_and_the_target_last_in_route() -> None:
    caller, callee = alice(), bob()
    ladder = registered(caller, callee)
    invite = ladder.one(caller.request(b"INVITE", callee.aor), caller.seen)
    further = b"Record-Route: <sip:198.51.100.99>\r\nRecord-Route:"
    answer = ladder.one(callee.answer(invite, 200).replace(b"Record-Route:", further, 1), callee.seen)
    bye = ladder.one(Dialog.of_caller(caller, answer).request(b"BYE"), caller.seen)
    assert bye.to == ("198.51.100.99", 5060)
    assert bye.start == b"BYE sip:198.51.100.99 SIP/2.0"
    assert bye.values("Route") == [b"<%b>" % callee.contact]


def test_what_a_strict_router_did_to_the_request_uri_is_repaired() -> None:
    """RFC 3261 §16.4."""
    caller, callee = alice(), bob()
    ladder = registered(callee)
    invite, answer = call(ladder, caller, callee)
    for phone, other, dialog in (
        (caller, callee, Dialog.of_caller(caller, answer)),
        (callee, caller, Dialog.of_callee(callee, invite)),
    ):
        bye = ladder.one(dialog.request(b"BYE", strict=True), phone.seen)
        assert (bye.to, bye.start) == (other.seen, b"BYE %b SIP/2.0" % other.contact)
        assert bye.values("Route") == []
