"""Media through the proxy: what is offered and answered, what the relay is told, and when ports come back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.core.effects import CloseRelay, OpenRelay, SteerRelay
from proxy.sip import sdp
from proxy.sip.message import Request
from tests.flows.follow import cancel
from tests.flows.ladder import Dialog, Ladder, Phone, Sent, alice, bob, carol

HERE = "198.51.100.10"
PORTS = range(30000, 30040, 2)
SDP = b"Content-Type: application/sdp"


def said(phone: Phone, port: int = 6000, host: str = "", more: bytes = b"") -> bytes:
    """Return what a phone says of its audio: its own address, which is private behind a NAT."""
    here = (host or phone.own[0]).encode()
    family = b"IP6" if b":" in here else b"IP4"
    return (
        b"v=0\r\no=%b 1 1 IN %b %b\r\ns=-\r\nc=IN %b %b\r\nt=0 0\r\nm=audio %d RTP/AVP 0\r\n%b"
        % (phone.name.encode(), family, here, family, here, port, more)
    )


def lab(*phones: Phone, mode: str = "auto", **given: object) -> Ladder:
    ladder = Ladder(relay=(mode, PORTS), **given)  # type: ignore[arg-type]
    for phone in phones or (alice(), bob(), carol()):
        ladder.send(phone.register(), phone.seen)
    return ladder


def audio(sent: Sent) -> tuple[str, int]:
    """Return where the audio is wanted, as whoever gets this message reads it."""
    place = sdp.locate(sent.message)
    assert place is not None
    media = sdp.parse_sdp(sent.message.body[slice(*place)]).media[0]
    assert sent.header("Content-Length") == b"%d" % len(sent.message.body)
    return media.host, media.port


def heard(ladder: Ladder, side: int) -> SteerRelay:
    """Return what the relay was told last of one side."""
    return next(each for each in reversed(ladder.media) if isinstance(each, SteerRelay) and each.side == side)


def ended(ladder: Ladder) -> list[str]:
    return [each.why for each in ladder.media if isinstance(each, CloseRelay)]


def all_free(ladder: Ladder) -> bool:
    assert ladder.engine.media is not None
    return sorted(ladder.engine.media.free) == list(PORTS) and not ladder.engine.media.sessions


def up(ladder: Ladder, caller: Phone, callee: Phone, cseq: int = 1) -> tuple[Sent, Sent]:
    """Place a call; return the INVITE as the callee saw it, and the 200 as the caller did."""
    invite = ladder.one(caller.request(b"INVITE", callee.aor, SDP, cseq=cseq, body=said(caller)), caller.seen)
    answer = ladder.one(callee.answer(invite, 200, SDP, body=said(callee, 7000)), callee.seen)
    ladder.one(Dialog.of_caller(caller, answer).request(b"ACK", cseq=cseq), caller.seen)
    return invite, answer


def test_each_side_is_told_a_port_of_ours_and_the_relay_where_each_is() -> None:
    ladder = lab()
    invite, answer = up(ladder, alice(), bob())
    assert audio(invite) == (HERE, 30002)  # the one that faces Bob
    assert audio(answer) == (HERE, 30000)
    opened = [each for each in ladder.media if isinstance(each, OpenRelay)]
    assert [each.here for each in opened] == [((HERE, 30000), (HERE, 30002))]
    assert opened[0].kind == b"audio"
    assert opened[0].rate == 8000
    # Alice is behind a NAT: her audio comes from where her messages come from, by a port that nobody knows yet.
    assert heard(ladder, 0) == SteerRelay(1, 0, 0, frozenset({"198.51.100.20"}), None, None, False)
    there = "198.51.100.200"
    assert heard(ladder, 1) == SteerRelay(1, 0, 1, frozenset({there}), (there, 7000), (there, 7001), True)


def test_the_clock_is_that_of_the_format_which_was_agreed_on() -> None:
    ladder = lab()
    offer = said(alice(), more=b"a=rtpmap:96 opus/48000/2\r\n").replace(b"RTP/AVP 0", b"RTP/AVP 96 0")
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=offer), alice().seen)
    assert heard(ladder, 0).rate == 48_000
    ladder.one(bob().answer(invite, 200, SDP, body=said(bob())), bob().seen)
    assert heard(ladder, 1).rate == 8000
    assert ladder.media[-1] == heard(ladder, 1)


def test_bob_calls_alice_and_hers_is_the_other_side() -> None:
    ladder = lab()
    invite, answer = up(ladder, bob(), alice())
    assert (audio(invite), audio(answer)) == ((HERE, 30002), (HERE, 30000))
    assert heard(ladder, 0).rtp == ("198.51.100.200", 6000)
    assert heard(ladder, 1) == SteerRelay(1, 0, 1, frozenset({"198.51.100.20"}), None, None, False)


def test_with_nobody_behind_a_nat_media_takes_its_own_way_and_no_byte_is_touched() -> None:
    dave = Phone("dave", ("198.51.100.201", 5060), ("198.51.100.201", 5060))
    ladder = lab(bob(), dave)
    invite, answer = up(ladder, dave, bob())
    assert invite.message.body == said(dave)
    assert answer.message.body == said(bob(), 7000)
    assert ladder.media == []


@pytest.mark.parametrize("given", [{"without": ["relay"]}, {"relay": None}])
def test_with_the_relay_off_no_line_is_touched(given: dict[str, object]) -> None:
    ladder = Ladder(**{"relay": ("always", PORTS), **given})  # type: ignore[arg-type]
    ladder.one(bob().register(), bob().seen)
    invite, answer = up(ladder, alice(), bob())
    assert invite.message.body == said(alice())
    assert answer.message.body == said(bob(), 7000)
    assert ladder.media == []


def test_always_is_always() -> None:
    dave = Phone("dave", ("198.51.100.201", 5060), ("198.51.100.201", 5060))
    ladder = lab(bob(), dave, mode="always")
    invite, answer = up(ladder, dave, bob())
    assert {audio(invite)[0], audio(answer)[0]} == {HERE}


def test_a_public_phone_that_names_a_private_address_for_its_audio_is_relayed() -> None:
    ladder, caller = lab(bob()), bob()
    ladder.one(bob().register(), bob().seen)
    dave = Phone("dave", ("198.51.100.201", 5060), ("198.51.100.201", 5060))
    body = said(dave, host="192.168.1.5")
    invite = ladder.one(dave.request(b"INVITE", caller.aor, SDP, body=body), dave.seen)
    assert audio(invite)[0] == HERE
    assert heard(ladder, 0).hosts == {"198.51.100.201"}
    assert heard(ladder, 0).rtp is None


def test_one_of_each_ip_version_meet_in_us() -> None:
    six = Phone("six", ("2001:db8::5", 5060), ("2001:db8::5", 5060))
    ladder = lab(bob(), also=("2001:db8::10", 5060))
    invite = ladder.one(six.request(b"INVITE", b"sip:bob@198.51.100.10", SDP, body=said(six)), six.seen)
    answer = ladder.one(bob().answer(invite, 200, SDP, body=said(bob())), bob().seen)
    assert audio(invite)[0] == HERE
    assert audio(answer)[0] == "2001:db8::10"
    assert b"IN IP6 2001:db8::10" in answer.message.body


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_ports_come_back_when_either_hangs_up(who: str) -> None:
    ladder, caller, callee = lab(), alice(), bob()
    invite, answer = up(ladder, caller, callee)
    assert not all_free(ladder)
    if who == "caller":
        quitter, other, dialog = caller, callee, Dialog.of_caller(caller, answer)
    else:
        quitter, other, dialog = callee, caller, Dialog.of_callee(callee, invite)
    bye = ladder.one(dialog.request(b"BYE"), quitter.seen)
    assert ended(ladder) == []  # until it is answered
    ladder.one(other.answer(bye, 200), other.seen)
    assert ended(ladder) == ["hung-up"]
    assert all_free(ladder)


def test_a_bye_that_nobody_answers_ends_it_too() -> None:
    ladder = lab()
    _, answer = up(ladder, alice(), bob())
    ladder.one(Dialog.of_caller(alice(), answer).request(b"BYE"), alice().seen)
    ladder.wait(40)
    assert ended(ladder) == ["hung-up"]


def test_a_bye_that_is_challenged_ends_nothing() -> None:
    ladder = lab()
    _, answer = up(ladder, alice(), bob())
    bye = ladder.one(Dialog.of_caller(alice(), answer).request(b"BYE"), alice().seen)
    ladder.one(bob().answer(bye, 401, b'WWW-Authenticate: Digest realm="x", nonce="y"'), bob().seen)
    assert ended(ladder) == []


@pytest.mark.parametrize("status", [486, 302, 603])
def test_ports_come_back_when_the_call_is_refused(status: int) -> None:
    ladder = lab()
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    assert not all_free(ladder)
    ladder.send(bob().answer(invite, status), bob().seen)
    assert ended(ladder) == ["failed"]
    assert all_free(ladder)


def test_ports_come_back_when_the_caller_gives_up() -> None:
    ladder = lab()
    request = alice().request(b"INVITE", bob().aor, SDP, cseq=1, body=said(alice()))
    invite = ladder.one(request, alice().seen)
    ladder.send(bob().answer(invite, 180), bob().seen)
    ladder.send(cancel(request), alice().seen)
    ladder.send(bob().answer(invite, 487), bob().seen)
    assert all_free(ladder)


def test_ports_come_back_when_nobody_answers() -> None:
    ladder = lab()
    ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    ladder.wait(40)
    assert all_free(ladder)


def test_ports_come_back_when_no_packet_has_come_for_long() -> None:
    ladder = lab()
    assert ladder.engine.media is not None
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    ladder.carry_out(ladder.engine.relay_silent(1, ladder.now))
    assert ended(ladder) == []  # it rings: nobody has anything to say yet
    ladder.one(bob().answer(invite, 200, SDP, body=said(bob())), bob().seen)
    ladder.carry_out(ladder.engine.relay_silent(1, ladder.now))
    assert ended(ladder) == ["silent"]
    assert all_free(ladder)
    ladder.carry_out(ladder.engine.relay_silent(1, ladder.now))
    assert ended(ladder) == ["silent"]


def test_a_port_that_somebody_else_has_is_not_used_again() -> None:
    ladder = lab()
    ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    ladder.carry_out(ladder.engine.relay_unopened(1, [30002], ladder.now))
    assert ladder.engine.media is not None
    assert 30002 not in ladder.engine.media.free
    assert 30000 in ladder.engine.media.free
    assert ladder.engine.counts["relay-failures"] == 1


def test_without_a_port_the_answer_is_503_and_the_log_says_so() -> None:
    ladder = Ladder(relay=("auto", PORTS[:2]))
    ladder.one(bob().register(), bob().seen)
    up(ladder, alice(), bob())
    request = alice().request(b"INVITE", bob().aor, SDP, call_id=b"other", cseq=7, body=said(alice()))
    refused = ladder.one(request, alice().seen)
    assert refused.start == b"SIP/2.0 503 No Media Port"
    assert refused.header("Retry-After") == b"10"
    assert ladder.notes[-2].name == "relay-exhausted"
    offerless = alice().request(b"INVITE", bob().aor, call_id=b"third", cseq=8)
    assert ladder.one(offerless, alice().seen).what == "503"  # its answer would bring the offer


def many() -> Ladder:
    """A proxy with ports for a hundred calls."""
    ladder = Ladder(relay=("auto", range(30000, 30400, 2)))
    ladder.send(bob().register(), bob().seen)
    return ladder


def calls(ladder: Ladder, phone: Phone, number: int) -> str:
    data = phone.request(b"INVITE", bob().aor, SDP, call_id=b"c%d" % number, cseq=number, body=said(phone))
    return ladder.send(data, phone.seen)[-1].what


def test_who_lets_many_phones_ring_has_half_of_the_ports_and_no_more() -> None:
    ladder = many()
    assert {calls(ladder, alice(), number) for number in range(1, 51)} == {"INVITE"}
    assert calls(ladder, alice(), 51) == "503"
    assert calls(ladder, carol(), 52) == "INVITE"  # she has not had hers
    ladder.wait(200)  # nobody answers
    assert ladder.engine.media is not None
    assert len(ladder.engine.media.free) == 200
    assert calls(ladder, alice(), 53) == "INVITE"


def test_calls_that_are_up_are_nobodys_share() -> None:
    ladder = many()
    for number in range(1, 101):
        phone = alice()
        phone.call_id = b"c%d" % number
        up(ladder, phone, bob(), cseq=number)
    assert ladder.engine.media is not None
    assert not ladder.engine.media.free


def reinvite(ladder: Ladder, dialog: Dialog, body: bytes, status: int = 200, answer: bytes = b"") -> tuple[Sent, Sent]:
    one, other = (alice(), bob()) if dialog.phone.name == "alice" else (bob(), alice())
    invite = ladder.one(dialog.request(b"INVITE", SDP, body=body), one.seen)
    lines = (SDP,) if status == 200 else ()
    sent = ladder.send(other.answer(invite, status, *lines, body=answer or said(other, 7000)), other.seen)
    return invite, sent[-1]


def test_a_reinvite_keeps_the_ports_and_lets_the_relay_learn_anew() -> None:
    ladder = lab()
    first, answer = up(ladder, alice(), bob())
    before = len(ladder.media)
    again, answered = reinvite(ladder, Dialog.of_caller(alice(), answer), said(alice(), 6100))
    assert audio(again) == audio(first)
    assert audio(answered) == audio(answer)
    assert [type(each) for each in ladder.media[before:]] == [SteerRelay, SteerRelay]


def test_who_is_called_reinvites_and_is_still_the_same_side() -> None:
    ladder = lab()
    first, answer = up(ladder, alice(), bob())
    again, answered = reinvite(ladder, Dialog.of_callee(bob(), first), said(bob(), 7100), answer=said(alice()))
    assert audio(again) == audio(answer)
    assert audio(answered) == audio(first)
    assert heard(ladder, 1).rtp == ("198.51.100.200", 7100)


def test_what_a_refused_reinvite_said_is_taken_back() -> None:
    ladder = lab()
    first, _ = up(ladder, alice(), bob())
    reinvite(ladder, Dialog.of_callee(bob(), first), said(bob(), 7100), status=488)
    assert heard(ladder, 1).rtp == ("198.51.100.200", 7000)
    assert ended(ladder) == []


def test_a_phone_that_comes_from_another_address_is_heard_from_there() -> None:
    ladder = lab()
    _, answer = up(ladder, alice(), bob())
    moved = alice()
    moved.seen = ("198.51.100.21", 41000)
    invite = ladder.one(Dialog.of_caller(moved, answer).request(b"INVITE", SDP, body=said(moved)), moved.seen)
    assert audio(invite)[0] == HERE
    assert heard(ladder, 0).hosts == {"198.51.100.21"}


def test_hold_is_what_it_was() -> None:
    ladder = lab()
    _, answer = up(ladder, alice(), bob())
    dialog = Dialog.of_caller(alice(), answer)
    offer, back = (said(phone, more=b"a=%b\r\n" % way) for phone, way in ((alice(), b"sendonly"), (bob(), b"recvonly")))
    held, answered = reinvite(ladder, dialog, offer, answer=back)
    assert b"a=sendonly\r\n" in held.message.body
    assert b"a=recvonly\r\n" in answered.message.body
    assert ended(ladder) == []
    old = ladder.one(dialog.request(b"INVITE", SDP, cseq=10, body=said(alice(), host="0.0.0.0")), alice().seen)
    assert b"c=IN IP4 0.0.0.0\r\n" in old.message.body  # hold as RFC 2543 had it


def test_an_offer_in_the_200_and_its_answer_in_the_ack() -> None:
    ladder = lab()
    invite = ladder.one(alice().request(b"INVITE", bob().aor, cseq=1), alice().seen)
    answer = ladder.one(bob().answer(invite, 200, SDP, body=said(bob(), 7000)), bob().seen)
    assert audio(answer) == (HERE, 30000)
    ack = Dialog.of_caller(alice(), answer).request(b"ACK", SDP, cseq=1, body=said(alice()))
    passed = ladder.one(ack, alice().seen)
    assert audio(passed) == (HERE, 30002)
    assert heard(ladder, 0).hosts == {"198.51.100.20"}


def test_a_retransmitted_200_says_the_same() -> None:
    ladder = lab()
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    once, again = (ladder.one(bob().answer(invite, 200, SDP, body=said(bob())), bob().seen) for _ in range(2))
    assert once.data == again.data


def test_early_media_and_prack_and_update_are_of_the_same_session() -> None:
    ladder = lab()
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    early = ladder.one(bob().answer(invite, 183, SDP, b"RSeq: 1", body=said(bob())), bob().seen)
    assert audio(early) == (HERE, 30000)
    dialog = Dialog.of_caller(alice(), early)
    prack = ladder.one(dialog.request(b"PRACK", SDP, b"RAck: 1 1 INVITE", body=said(alice(), 6100)), alice().seen)
    assert audio(prack) == (HERE, 30002)
    ladder.one(bob().answer(prack, 200, SDP, body=said(bob())), bob().seen)
    update = ladder.one(Dialog.of_callee(bob(), invite).request(b"UPDATE", SDP, body=said(bob(), 7200)), bob().seen)
    assert audio(update) == (HERE, 30000)
    assert heard(ladder, 1).rtp == ("198.51.100.200", 7200)
    assert len([each for each in ladder.media if isinstance(each, OpenRelay)]) == 1


def fork() -> Iterator[tuple[Ladder, Phone, Phone]]:
    one, two = bob(), Phone("bob", ("198.51.100.201", 5060), ("198.51.100.201", 5060))
    ladder = lab(one)
    ladder.one(two.register(call_id=b"two"), two.seen)
    yield ladder, one, two


def test_each_phone_that_rings_has_ports_of_its_own_and_losers_give_theirs_back() -> None:
    ladder, one, two = next(fork())
    rung = ladder.send(alice().request(b"INVITE", one.aor, SDP, body=said(alice())), alice().seen)
    assert {each.to for each in rung} == {one.seen, two.seen}
    assert len({audio(each) for each in rung}) == 2
    first, second = sorted(rung, key=lambda each: each.to != one.seen)
    ladder.one(one.answer(first, 183, SDP, body=said(one)), one.seen)  # both play early media
    ladder.one(two.answer(second, 183, SDP, body=said(two)), two.seen)
    sent = ladder.send(two.answer(second, 200, SDP, body=said(two)), two.seen)
    assert [each.what for each in sent] == ["200", "CANCEL"]
    ladder.send(one.answer(first, 487), one.seen)
    assert ended(ladder) == ["failed"]
    assert ladder.engine.media is not None
    assert len(ladder.engine.media.sessions) == 1


def test_a_loser_with_the_winners_tag_does_not_take_its_session_along() -> None:
    ladder, one, two = next(fork())  # both are `bob`, and make up the same tag
    rung = ladder.send(alice().request(b"INVITE", one.aor, SDP, body=said(alice())), alice().seen)
    first, second = sorted(rung, key=lambda each: each.to != one.seen)
    ladder.one(one.answer(first, 183, SDP, body=said(one)), one.seen)
    answer = ladder.send(two.answer(second, 200, SDP, body=said(two)), two.seen)[0]
    ladder.send(one.answer(first, 487), one.seen)
    bye = ladder.one(Dialog.of_caller(alice(), answer).request(b"BYE"), alice().seen)
    ladder.one(two.answer(bye, 200), two.seen)
    assert ended(ladder) == ["failed", "hung-up"]
    assert all_free(ladder)


def test_a_call_that_was_up_before_a_restart_gets_its_media_with_the_next_offer() -> None:
    ladder = lab()
    _, answer = up(ladder, alice(), bob())
    after = lab()
    invite = after.one(Dialog.of_caller(alice(), answer).request(b"INVITE", SDP, body=said(alice())), alice().seen)
    assert audio(invite)[0] == HERE
    answered = after.one(bob().answer(invite, 200, SDP, body=said(bob())), bob().seen)
    assert audio(answered)[0] == HERE


def test_a_body_of_several_parts_is_edited_in_its_part() -> None:
    ladder = lab()
    kind = b'Content-Type: multipart/mixed; boundary="x"'
    text = b"Content-Type: text/plain\r\n\r\nc=IN IP4 1.2.3.4\r\n"
    body = b"--x\r\nContent-Type: application/sdp\r\n\r\n%b\r\n--x\r\n%b--x--\r\n" % (said(alice()), text)
    invite = ladder.one(alice().request(b"INVITE", bob().aor, kind, body=body), alice().seen)
    assert audio(invite) == (HERE, 30002)
    assert b"c=IN IP4 1.2.3.4\r\n--x--\r\n" in invite.message.body


# Bad input


BAD = {
    "no connection": (said(alice()).replace(b"c=IN IP4 10.77.1.100\r\n", b""), 400),
    "a negative port": (said(alice()).replace(b" 6000 ", b" -6 "), 400),
    "a port beyond": (said(alice(), 65536), 400),
    "no port": (said(alice()).replace(b"m=audio 6000 RTP/AVP 0", b"m=audio"), 400),
    "half a connection": (said(alice()).replace(b"c=IN IP4 10.77.1.100", b"c=IN IP4"), 400),
    "a hundred media lines": (said(alice(), more=b"m=audio 7000 RTP/AVP 0\r\n" * 99), 488),
    "seventeen": (said(alice(), more=b"m=audio 7000 RTP/AVP 0\r\n" * 16), 488),
}


@pytest.mark.parametrize("name", BAD)
def test_an_offer_that_cannot_be_relayed_is_refused_and_costs_no_port(name: str) -> None:
    body, status = BAD[name]
    ladder = lab()
    assert ladder.status(alice().request(b"INVITE", bob().aor, SDP, body=body), alice().seen) == status
    assert all_free(ladder)


@pytest.mark.parametrize("name", BAD)
def test_where_media_takes_its_own_way_nobody_minds(name: str) -> None:
    dave = Phone("dave", ("198.51.100.201", 5060), ("198.51.100.201", 5060))
    body, _ = BAD[name]
    body = body.replace(b"10.77.1.100", b"198.51.100.201")
    ladder = lab(bob(), dave)
    assert ladder.one(dave.request(b"INVITE", bob().aor, SDP, body=body), dave.seen).message.body == body


@pytest.mark.parametrize("name", BAD)
def test_an_answer_that_cannot_be_read_passes_as_it_is(name: str) -> None:
    body, _ = BAD[name]
    ladder = lab()
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    assert ladder.one(bob().answer(invite, 200, SDP, body=body), bob().seen).message.body == body
    assert ladder.engine.counts["media-not-relayed"] == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "224.2.0.1", "10.0.0.7", "255.255.255.255", "::1", "name.example"])
def test_nothing_is_sent_to_an_address_that_leads_nowhere_or_to_ourselves(host: str) -> None:
    ladder = lab()
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    ladder.one(bob().answer(invite, 200, SDP, body=said(bob(), host=host)), bob().seen)
    assert heard(ladder, 1).rtp is None
    assert heard(ladder, 1).hosts == {"198.51.100.200"}  # where his messages come from


def test_our_own_ports_are_nobodys_address() -> None:
    ladder = lab()
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    ladder.one(bob().answer(invite, 200, SDP, body=said(bob(), 30002, HERE)), bob().seen)
    assert heard(ladder, 1).rtp is None
    assert HERE not in heard(ladder, 1).hosts


def test_a_media_line_that_is_off_stays_off_and_one_by_tcp_stays_as_it_is() -> None:
    ladder = lab()
    more = b"m=video 0 RTP/AVP 96\r\nm=message 7394 TCP/MSRP *\r\na=path:msrp://x\r\n"
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice(), more=more)), alice().seen)
    assert b"m=video 0 RTP/AVP 96\r\n" in invite.message.body
    assert b"m=message 7394 TCP/MSRP *\r\nc=IN IP4 10.77.1.100\r\na=path" in invite.message.body


# Every way a call can end


def tagged(phone: Phone, request: Sent, status: int, tag: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    """Return the answer of one of those to whom a proxy behind ours has forked."""
    return phone.answer(request, status, *lines, body=body).replace(b";tag=" + phone.name.encode(), b";tag=" + tag)


def fork_with_loser() -> tuple[Ladder, Phone, Phone, Sent, Sent]:
    ladder, one, two = next(fork())
    rung = ladder.send(alice().request(b"INVITE", one.aor, SDP, body=said(alice())), alice().seen)
    first, second = sorted(rung, key=lambda each: each.to != one.seen)
    return ladder, one, two, first, second


@pytest.mark.parametrize("rings", [True, False])
def test_a_loser_that_never_answers_gives_its_ports_back(rings: bool) -> None:
    ladder, one, two, first, second = fork_with_loser()
    if rings:
        ladder.send(tagged(one, first, 180, b"loser"), one.seen)
    answer = ladder.send(two.answer(second, 200, SDP, body=said(two)), two.seen)[0]
    ladder.wait(300)
    assert ended(ladder) == ["failed"]
    bye = ladder.one(Dialog.of_caller(alice(), answer).request(b"BYE"), alice().seen)
    ladder.one(two.answer(bye, 200), two.seen)
    assert all_free(ladder)


@pytest.mark.parametrize("to", [b"<sip:bob@198.51.100.10>", b"<sip:bob@198.51.100.10>;tag=guessed"])
@pytest.mark.parametrize("method", [b"INVITE", b"UPDATE", b"PRACK"])
def test_an_offer_out_of_nowhere_that_is_refused_leaves_nothing(method: bytes, to: bytes) -> None:
    ladder = lab()
    sent = ladder.one(alice().request(method, bob().aor, SDP, to=to, body=said(alice())), alice().seen)
    ladder.send(bob().answer(sent, 481), bob().seen)
    assert all_free(ladder)


def test_a_2xx_without_a_tag_is_a_call_that_can_fall_silent() -> None:
    ladder = lab()
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    ladder.send(bob().answer(invite, 200, SDP, body=said(bob())).replace(b";tag=bob", b""), bob().seen)
    ladder.carry_out(ladder.engine.relay_silent(1, ladder.now))
    assert all_free(ladder)


def test_who_rang_behind_another_proxy_and_lost_holds_no_ports() -> None:
    ladder = lab()
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    for tag in (b"one", b"two"):
        ladder.one(tagged(bob(), invite, 180, tag), bob().seen)
    answer = ladder.one(tagged(bob(), invite, 200, b"two", SDP, body=said(bob())), bob().seen)
    bye = ladder.one(Dialog.of_caller(alice(), answer).request(b"BYE"), alice().seen)
    ladder.one(bob().answer(bye, 200), bob().seen)
    assert all_free(ladder)


def test_of_two_2xx_behind_another_proxy_the_call_that_stays_keeps_its_ports() -> None:
    ladder = lab()
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    calls = []
    for tag in (b"one", b"two"):
        answer = ladder.one(tagged(bob(), invite, 200, tag, SDP, body=said(bob())), bob().seen)
        calls.append(Dialog.of_caller(alice(), answer))
    for number, dialog in enumerate(reversed(calls)):
        assert ended(ladder) == []
        bye = ladder.one(dialog.request(b"BYE", cseq=20 + number), alice().seen)
        ladder.one(bob().answer(bye, 200), bob().seen)
    assert all_free(ladder)


def test_an_offer_that_rings_and_is_then_refused_leaves_nothing() -> None:
    ladder = lab()
    invite = ladder.one(alice().request(b"INVITE", bob().aor), alice().seen)
    early = ladder.one(bob().answer(invite, 183, SDP, b"RSeq: 1", body=said(bob())), bob().seen)
    assert audio(early)[0] == HERE
    ladder.send(bob().answer(invite, 486), bob().seen)
    assert all_free(ladder)


def test_an_offer_of_another_phone_behind_another_proxy_is_heard() -> None:
    ladder = lab()
    invite = ladder.one(alice().request(b"INVITE", bob().aor), alice().seen)
    ladder.one(tagged(bob(), invite, 183, b"one", SDP, body=said(bob())), bob().seen)
    ladder.one(tagged(bob(), invite, 200, b"two", SDP, body=said(bob(), 7500)), bob().seen)
    assert heard(ladder, 1).rtp == ("198.51.100.200", 7500)


def test_a_phone_that_is_looked_for_when_the_caller_gives_up_gives_its_ports_back() -> None:
    """Of two flows to one phone the first fails; the way to the second is a name that is being looked up."""
    ladder, callee = lab(alice()), bob()
    instance = b'<sip:bob@198.51.100.200>;+sip.instance="<urn:uuid:1>";reg-id=%d'
    supported = b"Supported: path, outbound"
    ladder.one(callee.register(supported, b"Path: <sip:edge.example.net;lr;ob>", contact=instance % 2), callee.seen)
    ladder.one(callee.register(supported, contact=instance % 1, call_id=b"another"), callee.seen)
    for binding in ladder.location.by_id.values():
        binding.q = 500 if binding.path else 1000
    request = alice().request(b"INVITE", callee.aor, SDP, body=said(alice()))
    sent = ladder.send(request, alice().seen)
    ladder.fail(next(each for each in sent if each.what == "INVITE"))
    assert len(ladder.lookups) == 1
    ladder.send(cancel(request), alice().seen)
    ladder.wait(300)
    assert all_free(ladder)


def test_a_second_section_for_which_no_port_is_left_takes_the_first_one_with_it() -> None:
    """There were ports when the call was admitted, and none any more when the name of its next hop was found."""
    ladder = Ladder(relay=("auto", PORTS[:4]), allowed=[alice().seen[0]])
    ladder.one(bob().register(), bob().seen)
    body = said(alice(), more=b"m=video 6002 RTP/AVP 31\r\n")
    slow = alice().request(b"INVITE", b"sip:x@far.example.net", SDP, call_id=b"slow", cseq=7, body=body)
    ladder.send(slow, alice().seen)
    up(ladder, alice(), bob())
    sent = ladder.locate(("udp", ("198.51.100.77", 5060)))
    assert sent[0].what in {"500", "503"}
    assert ladder.engine.media is not None
    assert len(ladder.engine.media.sessions) == 1
    assert len(ladder.engine.media.free) == 2


def test_a_reinvite_for_which_no_port_is_left_changes_nothing() -> None:
    ladder = Ladder(relay=("auto", PORTS[:2]))
    ladder.one(bob().register(), bob().seen)
    invite, _ = up(ladder, alice(), bob())
    again = said(bob(), 7100, more=b"m=video 6002 RTP/AVP 31\r\n")
    ladder.one(Dialog.of_callee(bob(), invite).request(b"INVITE", SDP, body=again), bob().seen)
    assert heard(ladder, 1).rtp == ("198.51.100.200", 7000)
    assert ended(ladder) == []


@pytest.mark.parametrize("line", [b"m=audio 0 RTP/AVP 0", b"m=message 7394 TCP/MSRP *"])
def test_where_nothing_can_be_relayed_there_is_no_session(line: bytes) -> None:
    ladder = lab()
    body = said(alice()).replace(b"m=audio 6000 RTP/AVP 0", line)
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=body), alice().seen)
    assert invite.message.body == body
    assert all_free(ladder)


def test_what_an_ack_answered_is_not_taken_back() -> None:
    ladder, caller, callee = lab(), bob(), alice()
    invite = ladder.one(caller.request(b"INVITE", callee.aor, cseq=1), caller.seen)
    answer = ladder.one(callee.answer(invite, 200, SDP, body=said(callee)), callee.seen)
    dialog = Dialog.of_caller(caller, answer)
    ladder.one(dialog.request(b"ACK", SDP, cseq=1, body=said(caller)), caller.seen)
    reinvite(ladder, dialog, said(caller, 6100), status=488)
    assert heard(ladder, 0).rtp == ("198.51.100.200", 6000)


def test_an_ack_that_cannot_be_read_passes_as_it_is() -> None:
    ladder = lab()
    invite = ladder.one(alice().request(b"INVITE", bob().aor, cseq=1), alice().seen)
    answer = ladder.one(bob().answer(invite, 200, SDP, body=said(bob(), 7000)), bob().seen)
    body, _ = BAD["no port"]
    ack = Dialog.of_caller(alice(), answer).request(b"ACK", SDP, cseq=1, body=body)
    assert ladder.one(ack, alice().seen).message.body == body


def test_a_length_that_is_said_twice_is_said_once_when_the_body_changes() -> None:
    """Else whoever believes the other line takes the end of the body for the next message of a stream."""
    ladder = lab()
    data = alice().request(b"INVITE", bob().aor, SDP, b"l: %d" % len(said(alice())), body=said(alice()))
    invite = ladder.one(data, alice().seen)
    assert invite.message.keys.count(b"content-length") == 1
    assert audio(invite)[0] == HERE


def test_a_copy_that_has_grown_and_goes_by_tcp_has_the_same_ports() -> None:
    ladder = lab(allowed=[alice().seen[0]])
    body = said(alice(), more=b"a=x:%b\r\n" % (1200 * b"x"))
    invite = ladder.one(alice().request(b"INVITE", b"sip:x@198.51.100.77", SDP, body=body), alice().seen)
    assert invite.flow.transport == "tcp"
    assert audio(invite) == (HERE, 30002)
    assert len([each for each in ladder.media if isinstance(each, OpenRelay)]) == 1
    invite = ladder.fail(invite)[0]
    assert (invite.flow.transport, audio(invite)) == ("udp", (HERE, 30002))
    ladder.wait(40)
    assert all_free(ladder)


# Where media must not go


def test_a_phone_behind_a_nat_gets_its_media_elsewhere_only_if_it_speaks_from_there() -> None:
    ladder = lab()
    third, home = "203.0.113.50", alice().seen[0]
    invite = ladder.one(bob().request(b"INVITE", alice().aor, SDP, body=said(bob())), bob().seen)
    answer = said(alice(), 9, third, b"a=rtcp:9 IN IP4 203.0.113.51\r\n")
    ladder.one(alice().answer(invite, 200, SDP, body=answer), alice().seen)
    assert heard(ladder, 1) == SteerRelay(1, 0, 1, frozenset({home, third}), None, None, False)
    reinvite(ladder, Dialog.of_callee(alice(), invite), said(alice(), 40500, home))
    assert heard(ladder, 1) == SteerRelay(1, 0, 1, frozenset({home}), (home, 40500), (home, 40501), False)  # by STUN


def test_rtcp_does_not_go_to_our_own_ports_either() -> None:
    ladder = lab()
    more = b"a=rtcp:30003 IN IP4 198.51.100.10\r\n"
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    ladder.one(bob().answer(invite, 200, SDP, body=said(bob(), more=more)), bob().seen)
    assert heard(ladder, 1).rtp == ("198.51.100.200", 6000)
    assert heard(ladder, 1).rtcp is None


@pytest.mark.parametrize("port", [5060, 30001])
def test_media_does_not_go_where_we_speak_sip_nor_to_our_ports_for_rtcp(port: int) -> None:
    ladder = lab()
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    ladder.one(bob().answer(invite, 200, SDP, body=said(bob(), port, HERE)), bob().seen)
    assert heard(ladder, 1).rtp is None


def spiral(ladder: Ladder, sent: Sent, uri: bytes = b"") -> Sent:
    """Return what leaves us when a proxy to whom we sent a request sends it back to us, for somebody else."""
    there = ("198.51.100.201", 5060)
    request = sent.message
    assert isinstance(request, Request)
    request.push(b"Via", b"SIP/2.0/UDP 198.51.100.201;branch=z9hG4bK-there-" + (sent.header("CSeq") or b"")[:1])
    request.uri = uri or request.uri
    if request.header(b"route") is None:
        request.push(b"Record-Route", b"<sip:198.51.100.201;lr>")
    else:
        request.pop_top(b"Route")  # its own
    return ladder.one(request.encode(), there)


def test_what_comes_through_us_twice_is_relayed_once_also_when_it_changes() -> None:
    server = Phone("server", ("198.51.100.201", 5060), ("198.51.100.201", 5060))
    ladder = lab(alice(), bob(), server)
    first = ladder.one(alice().request(b"INVITE", server.aor, SDP, body=said(alice())), alice().seen)
    invite = spiral(ladder, first, bob().aor)
    assert invite.message.body == first.message.body
    back = ladder.one(bob().answer(invite, 200, SDP, body=said(bob(), 7000)), bob().seen)
    assert back.message.body == said(bob(), 7000)
    assert back.to == server.seen
    response = back.message
    response.pop_top(b"Via")
    answer = ladder.one(response.encode(), server.seen)
    assert audio(answer) == (HERE, 30000)
    dialog = Dialog.of_callee(bob(), invite)
    before = len(ladder.media)
    again = ladder.one(dialog.request(b"INVITE", SDP, body=said(bob(), 7100)), bob().seen)
    assert audio(again) == (HERE, 30000)
    assert heard(ladder, 1).rtp == ("198.51.100.200", 7100)
    assert len(ladder.media) == before + 1
    twice = spiral(ladder, again)
    assert twice.message.body == again.message.body
    assert len(ladder.media) == before + 1


def test_what_comes_through_us_again_needs_no_more_ports() -> None:
    server = Phone("server", ("198.51.100.201", 5060), ("198.51.100.201", 5060))
    ladder = Ladder(relay=("auto", PORTS[:2]))
    for phone in (alice(), server):
        ladder.send(phone.register(), phone.seen)
    bobs = bob()
    first = ladder.one(bobs.request(b"INVITE", server.aor, SDP, body=said(bobs, host="10.9.9.9")), bobs.seen)
    assert audio(first)[0] == HERE
    assert spiral(ladder, first, alice().aor).what == "INVITE"


def test_our_ports_at_another_of_our_addresses_are_nobodys_either() -> None:
    ladder = lab(also=("198.51.100.11", 5060))
    invite = ladder.one(alice().request(b"INVITE", bob().aor, SDP, body=said(alice())), alice().seen)
    ladder.one(bob().answer(invite, 200, SDP, body=said(bob(), 30000, "198.51.100.11")), bob().seen)
    assert heard(ladder, 1).rtp is None
