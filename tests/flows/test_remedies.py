"""Each NAT remedy switched off breaks the call where the documents say, and nowhere else."""

from __future__ import annotations

from itertools import count

from proxy.sip.headers import parse_name_addr
from tests.flows.ladder import MAPPED_BOB, PROXY, Dialog, Ladder, Sent, alice, bob

NUMBERS = count(1)


def invite(ladder: Ladder) -> Sent:
    """Return one more INVITE of Alice's, as Bob gets it."""
    phone = alice()
    return ladder.one(phone.request(b"INVITE", bob().aor, cseq=next(NUMBERS)), phone.seen)


def answered(ladder: Ladder) -> Sent:
    far = bob()
    return ladder.one(far.answer(invite(ladder), 200), far.seen)


def test_without_rport_answers_go_to_received_and_the_vias_own_port() -> None:
    ladder = Ladder({"rport"}, MAPPED_BOB)
    assert answered(ladder).to == ("198.51.100.20", 5060)
    assert ladder.one(alice().register(), alice().seen).to == ("198.51.100.20", 5060)


def test_without_received_answers_go_to_the_vias_host_and_the_source_port() -> None:
    ladder = Ladder({"received"}, MAPPED_BOB)
    assert answered(ladder).to == ("10.77.1.100", 40000)
    assert invite(ladder).via(1).param(b"received") is None


def test_without_both_answers_go_to_the_via_as_written() -> None:
    ladder = Ladder({"received", "rport"}, MAPPED_BOB)
    assert answered(ladder).to == alice().own
    assert invite(ladder).values("Via")[1] == b"SIP/2.0/UDP 10.77.1.100:5060;branch=z9hG4bK-alice-%d;rport" % (
        next(NUMBERS) - 1
    )


def test_without_both_a_via_that_bears_a_name_is_answered_nowhere() -> None:
    ladder, phone = Ladder({"received", "rport"}), alice()
    data = phone.register().replace(b"UDP 10.77.1.100:5060", b"UDP phone.example.org")
    assert ladder.send(data, phone.seen) == []
    assert ladder.engine.counts["no-way-back"] == 1


def test_without_contact_bob_sees_the_private_one_and_his_bye_goes_astray() -> None:
    ladder, far = Ladder({"contact"}, MAPPED_BOB), bob()
    sent = invite(ladder)
    assert sent.values("Contact") == [b"<%b>" % alice().contact]
    assert ladder.one(Dialog.of_callee(far, sent).request(b"BYE"), far.seen).to == alice().own


def test_without_contact_bob_sees_the_private_one_in_her_answer_too() -> None:
    ladder, phone, far = Ladder({"contact"}), alice(), bob()
    ladder.one(phone.register(), phone.seen)
    ladder.one(far.register(), far.seen)
    request = ladder.one(far.request(b"INVITE", phone.aor), far.seen)
    assert request.to == phone.seen
    answer = ladder.one(phone.answer(request, 200), phone.seen)
    assert ladder.one(Dialog.of_caller(far, answer).request(b"ACK"), far.seen).to == phone.own


def test_without_record_route_the_dialog_passes_the_proxy_by() -> None:
    ladder = Ladder({"record_route"}, MAPPED_BOB)
    sent, answer = invite(ladder), answered(ladder)
    assert sent.values("Record-Route") == answer.values("Record-Route") == []
    assert Dialog.of_caller(alice(), answer).first_hop() == bob().seen
    assert Dialog.of_callee(bob(), sent).first_hop() == alice().seen


def test_with_record_route_both_sides_send_to_the_proxy() -> None:
    ladder = Ladder(mapping=MAPPED_BOB)
    assert Dialog.of_caller(alice(), answered(ladder)).first_hop() == PROXY
    assert Dialog.of_callee(bob(), invite(ladder)).first_hop() == PROXY


def test_without_flow_a_registered_phone_is_sought_at_its_contact() -> None:
    ladder, phone, far = Ladder({"flow"}), alice(), bob()
    ladder.one(phone.register(), phone.seen)
    request = ladder.one(far.request(b"INVITE", phone.aor), far.seen)
    assert request.to == phone.own
    assert request.start == b"INVITE %b SIP/2.0" % phone.contact


def test_every_remedy_leaves_the_others_alone() -> None:
    for off in ("received", "rport", "contact", "record_route", "flow"):
        sent = invite(Ladder({off}, MAPPED_BOB))
        assert (sent.via(1).param(b"received") is None) == (off == "received")
        assert (sent.via(1).param(b"rport") == b"") == (off == "rport")
        assert (parse_name_addr(sent.values("Contact")[0]).parsed().address == alice().own) == (off == "contact")
        assert (sent.values("Record-Route") == []) == (off == "record_route")
