"""Media through the proxy: what is offered and answered, what the relay is told, and when ports come back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.core.effects import CloseRelay, OpenRelay, SteerRelay
from proxy.sip import sdp
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
