"""What is wrong with a request is said to its sender, in the order of RFC 3261 §16.3."""

from __future__ import annotations

from time import process_time

import pytest

from proxy.core.effects import Send
from proxy.core.validate import MAX_HEADER_LINES, MAX_MESSAGE_BYTES
from tests.flows.ladder import MAPPED_BOB, PROXY, Ladder, alice, arrows, bob


def invite(*lines: bytes, body: bytes = b"") -> bytes:
    return alice().request(b"INVITE", bob().aor, *lines, body=body)


def status(data: bytes) -> int:
    return Ladder(mapping=MAPPED_BOB).status(data, alice().seen)


@pytest.mark.parametrize("missing", [b"From", b"To", b"Call-ID", b"CSeq"])
def test_a_request_without_a_header_that_it_needs_is_400(missing: bytes) -> None:
    lines = invite().split(b"\r\n")
    assert status(b"\r\n".join(line for line in lines if not line.startswith(missing + b":"))) == 400


@pytest.mark.parametrize("line", [b"From: <sip:a@b>;tag=2", b"t: <sip:a@b>", b"i: x", b"CSeq: 1 INVITE"])
def test_a_header_that_may_stand_once_and_stands_twice_is_400(line: bytes) -> None:
    assert status(invite(line)) == 400


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"CSeq: 1 INVITE", b"CSeq: 1 BYE"),
        (b"CSeq: 1 INVITE", b"CSeq: 1 invite"),
        (b"CSeq: 1 INVITE", b"CSeq: 4294967296 INVITE"),
        (b"CSeq: 1 INVITE", b"CSeq: -1 INVITE"),
        (b"CSeq: 1 INVITE", b"CSeq: INVITE"),
        (b"Max-Forwards: 70", b"Max-Forwards: 256"),
        (b"Max-Forwards: 70", b"Max-Forwards: seventy"),
        (b"Max-Forwards: 70", b"Max-Forwards: 70\r\nMax-Forwards: 70"),
        (b"Max-Forwards: 70", b"no colon at all"),
        (b"Max-Forwards: 70", b"bad name: x"),
        (b"Max-Forwards: 70", b": nameless"),
        (b"Max-Forwards: 70", b"X: bare\nVia: SIP/2.0/UDP 198.51.100.77"),
        (b"Max-Forwards: 70", b"X: bare\rreturn"),
        (b"Max-Forwards: 70", b"X: nul\0"),
        (b"To: <", b"To: <<"),
        (b"To: <sip", b'To: "unclosed <sip'),
        (b"INVITE sip", b"INVITE  sip"),
        (b" SIP/2.0\r\nVia", b";a b SIP/2.0\r\nVia"),
        (b"INVITE sip:bob@198.51.100.10 ", b"INVITE <sip:bob@198.51.100.10> "),
        (b"Content-Length: 0", b"Content-Length: 1"),
        (b"Content-Length: 0", b"Content-Length: -1"),
        (b"Content-Length: 0", b"Content-Length: 0\r\nl: 1"),
        (b"Content-Length: 0\r\n\r\n", b"Content-Length: 0\r\n"),
    ],
)
def test_malformed_requests_are_400(old: bytes, new: bytes) -> None:
    """After RFC 4475 §3.1.2 and §3.3."""
    data = invite()
    assert old in data
    assert status(data.replace(old, new, 1)) == 400


def test_a_body_shorter_than_it_says_is_400_and_extra_bytes_are_cut() -> None:
    ladder, phone = Ladder(mapping=MAPPED_BOB), alice()
    data = invite(body=b"v=0\r\n")
    assert status(data[:-1]) == 400
    assert ladder.one(data + b"INVITE sip:x SIP/2.0\r\n\r\n", phone.seen).message.body == b"v=0\r\n"


def test_another_version_is_505() -> None:
    assert status(invite().replace(b" SIP/2.0\r\n", b" SIP/7.0\r\n", 1)) == 505
    assert status(invite().replace(b" SIP/2.0\r\n", b" SIP/7.0\r\n", 1).replace(b" INVITE\r\n", b" ACK\r\n")) == 505


def test_another_scheme_is_416() -> None:
    assert status(invite().replace(b"INVITE sip:bob@198.51.100.10", b"INVITE nobodyKnowsThisScheme:foo")) == 416


def test_max_forwards_is_counted_refused_at_0_and_added_where_it_lacks() -> None:
    def left(old: bytes, new: bytes) -> bytes | None:
        return Ladder(mapping=MAPPED_BOB).one(invite().replace(old, new), alice().seen).header("Max-Forwards")

    assert status(invite().replace(b"Max-Forwards: 70", b"Max-Forwards: 0")) == 483
    assert left(b"Forwards: 70", b"Forwards: 1") == b"0"
    assert left(b"Forwards: 70", b"Forwards: 0068") == b"67"
    assert left(b"Max-Forwards: 70\r\n", b"") == b"70"


def test_a_proxy_require_that_we_do_not_know_is_420_and_names_it() -> None:
    phone = alice()
    answer = Ladder(mapping=MAPPED_BOB).one(invite(b"Proxy-Require: a, b", b"Proxy-Require: c"), phone.seen)
    assert answer.start == b"SIP/2.0 420 Bad Extension"
    assert answer.header("Unsupported") == b"a, b, c"
    assert status(invite(b"Proxy-Require: x").replace(b"Forwards: 70", b"Forwards: 0")) == 483


def test_a_require_is_none_of_a_proxys_business() -> None:
    phone = alice()
    assert Ladder(mapping=MAPPED_BOB).one(invite(b"Require: 100rel"), phone.seen).header("Require") == b"100rel"


def test_a_registrar_that_cannot_do_what_is_required_says_420_and_keeps_nothing() -> None:
    """RFC 3261 §10.3 step 2."""
    ladder, phone = Ladder(), alice()
    answer = ladder.one(phone.register(b"Require: gruu, teleport"), phone.seen)
    assert (answer.start, answer.header("Unsupported")) == (b"SIP/2.0 420 Bad Extension", b"teleport")
    assert ladder.one(phone.register(contact=b""), phone.seen).values("Contact") == []


def test_a_message_too_large_is_513() -> None:
    assert status(invite(body=b"x" * MAX_MESSAGE_BYTES)) == 513
    assert status(invite(*[b"X: y"] * MAX_HEADER_LINES)) == 513


def test_a_user_who_never_registered_is_404_and_one_who_is_gone_480() -> None:
    ladder, phone, caller = Ladder(), alice(), bob()
    assert ladder.status(caller.request(b"INVITE", phone.aor), caller.seen) == 404
    ladder.one(phone.register(), phone.seen)
    ladder.one(phone.register(b"Expires: 0"), phone.seen)
    assert ladder.status(caller.request(b"INVITE", phone.aor), caller.seen) == 480


def test_our_answers_bear_a_tag_of_ours_the_same_for_every_copy() -> None:
    ladder, phone = Ladder(), alice()
    data = invite()
    first = ladder.one(data, phone.seen)
    assert first.data == ladder.one(data, phone.seen).data
    assert b";tag=" in (first.header("To") or b"")
    assert first.header("Content-Length") == b"0"


@pytest.mark.parametrize(
    ("to", "already"),
    [
        (b"<sip:bob@198.51.100.10>;tag=x", True),
        (b"<sip:bob@198.51.100.10>;TAG=x", True),
        (b"<sip:bob@198.51.100.10>\r\n ;\r\n\ttag  =  x", True),
        (b"sip:bob@198.51.100.10;tag=x", True),
        (b"<sip:bob@198.51.100.10;tag=x>", False),
        (b"<sip:bob@198.51.100.10>;mytag=x", False),
        (b"sip:tag=x@198.51.100.10", False),
        (b'"tag=x" <sip:bob@198.51.100.10>', False),
    ],
)
def test_our_answer_adds_a_to_tag_exactly_where_there_is_none(to: bytes, already: bool) -> None:
    phone = alice()
    answer = Ladder().one(phone.request(b"INVITE", bob().aor, to=to), phone.seen)
    line = answer.message.lines[answer.message.keys.index(b"to")]
    assert (line == b"To: " + to) == already


def test_an_ack_is_never_answered() -> None:
    ladder, phone = Ladder(), alice()
    for data in (
        phone.request(b"ACK", b"sip:nobody@198.51.100.10"),
        phone.request(b"ACK", b"tel:1"),
        phone.request(b"ACK", b"sip:198.51.100.10"),
        phone.request(b"ACK", b"sip:x@198.51.100.200").replace(b"Max-Forwards: 70", b"Max-Forwards: 0"),
    ):
        assert ladder.send(data, phone.seen) == []


def test_the_ack_to_our_own_error_is_absorbed_even_when_the_callee_has_come_since() -> None:
    ladder, phone, callee = Ladder(), alice(), bob()
    refused = ladder.one(phone.request(b"INVITE", callee.aor, cseq=1), phone.seen)
    assert refused.start.startswith(b"SIP/2.0 404")
    ladder.one(callee.register(), callee.seen)
    ack = phone.request(b"ACK", callee.aor, cseq=1, to=refused.header("To"), contact=b"")
    assert ladder.send(ack, phone.seen) == []


def test_other_methods_for_the_proxy_itself_are_refused() -> None:
    ladder, phone = Ladder(), alice()
    assert ladder.status(phone.request(b"OPTIONS", b"sip:198.51.100.10"), phone.seen) == 200
    assert ladder.status(phone.request(b"MESSAGE", b"sip:198.51.100.10"), phone.seen) == 404


@pytest.mark.parametrize(
    "data",
    [b"", b"\r\n", b"\r\n\r\n", b"\0", b"\0\0\0\0", b"\x00\x11\x00\x00\x21\x12\xa4\x42" + bytes(12)],
)
def test_keep_alives_are_no_errors(data: bytes) -> None:
    ladder = Ladder()
    assert ladder.send(data, alice().seen) == []
    assert ladder.notes == []
    assert ladder.engine.counts["keep-alives"] == 1


def test_a_stun_binding_request_is_told_where_it_came_from() -> None:
    """RFC 5626 §4.4.2, RFC 8489 §14.2: XOR-MAPPED-ADDRESS, under the same transaction id."""
    ladder, number = Ladder(), bytes(range(12))
    flow = ladder.flow(alice().seen)
    ask = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + number
    (reply,) = ladder.engine.receive(ask, flow, ladder.now)
    assert isinstance(reply, Send)
    assert reply.flow == flow
    host, port = bytes((198 ^ 0x21, 51 ^ 0x12, 100 ^ 0xA4, 20 ^ 0x42)), (40000 ^ 0x2112).to_bytes(2, "big")
    attribute = b"\x00\x20\x00\x08\x00\x01" + port + host
    assert reply.data == b"\x01\x01\x00\x0c\x21\x12\xa4\x42" + number + attribute
    assert ladder.engine.counts["keep-alives"] == 1


@pytest.mark.parametrize("data", [b"hello", b"\xff" * 100, b"GET / HTTP/1.1\r\n\r\n", b"SIP/2.0 999 x\r\n\r\n"])
def test_what_is_no_sip_is_dropped_with_a_note(data: bytes) -> None:
    ladder = Ladder()
    assert ladder.send(data, alice().seen) == []
    assert ladder.notes[0].name == "message-dropped"
    assert ladder.notes[0].fields["reason"] == "not-sip"


@pytest.mark.parametrize("via", [b"", b"Via: \r\n", b"Via: SIP/2.0/UDP\r\n", b"Via: SIP/2.0/UDP 198.51.100.20:0\r\n"])
def test_a_request_without_a_readable_via_is_dropped(via: bytes) -> None:
    ladder = Ladder()
    data = b"OPTIONS sip:198.51.100.10 SIP/2.0\r\n" + via + b"\r\n"
    assert ladder.send(data, alice().seen) == []
    assert ladder.notes[0].fields["reason"] == "no-way-back"


def test_leading_crlf_and_lines_in_any_case_with_white_space_are_read() -> None:
    """After RFC 4475 §3.1.1.1: a short tortuous INVITE."""
    ladder, far = Ladder(allowed=["198.51.100.2"]), bob()
    data = (
        b"\r\n\r\nINVITE sip:vivekg@198.51.100.200;unknownparam SIP/2.0\r\n"
        b"TO :\r\n sip:vivekg@198.51.100.200 ;   tag    = 1918181833n\r\n"
        b'from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n'
        b"MaX-fOrWaRdS: 0068\r\nCall-ID: wsinv.ndaksdj@198.51.100.1\r\nContent-Length   : 4\r\n"
        b"cseq: 0009\r\n  INVITE\r\n"
        b"Via  : SIP  /   2.0\r\n /UDP\r\n    198.51.100.2;branch=390skdjuw\r\n"
        b"s :\r\nNewFangledHeader:   newfangled value\r\n continued newfangled value\r\n"
        b"UnknownHeaderWithUnusualValue: ;;,,;;,;\r\nContent-Type: application/sdp\r\n"
        b"v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n"
        b" SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n"
        b'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =\r\n'
        b"      newvalue ;\r\n  secondparam ; q = 0.33\r\n\r\nv=0\n"
    )
    sent = ladder.one(data, ("198.51.100.2", 5060))
    assert sent.to == far.seen
    assert len(sent.values("Via")) == 4
    assert sent.header("Max-Forwards") == b"67"
    assert b"UnknownHeaderWithUnusualValue: ;;,,;;,;\r\n" in sent.data
    assert b"s :\r\nNewFangledHeader:   newfangled value\r\n continued newfangled value\r\n" in sent.data
    answers = ladder.send(far.answer(sent, 486), far.seen)
    assert arrows(answers) == [("ACK", far.seen), ("486", ("198.51.100.2", 5060))]


def test_an_unusual_but_valid_method_and_user_pass() -> None:
    """After RFC 4475 §3.1.1.2."""
    user = b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    method = b"!interesting-Method0123456789_*+`.%indeed'~"
    phone = alice()
    sent = Ladder(allowed=[phone.seen[0]]).one(phone.request(method, b"sip:" + user + b"@198.51.100.77"), phone.seen)
    assert sent.start == method + b" sip:" + user + b"@198.51.100.77 SIP/2.0"


def test_a_line_of_commas_above_the_real_via_does_not_double_it() -> None:
    ladder, phone = Ladder(mapping=MAPPED_BOB), alice()
    sent = ladder.one(invite().replace(b"Via: ", b"Via: ,\r\nVia: ", 1), phone.seen)
    assert len(sent.values("Via")) == 2
    assert sent.via(1).param(b"rport") == b"40000"


@pytest.mark.parametrize(
    "rubbish", [b'"' + b'\\"' * 7000, b"<" * 14_000, b'"a"' * 4000, b",<" * 7000, b"\r\n x" * 3500]
)
def test_a_line_made_to_be_slow_is_read_in_a_moment(rubbish: bytes) -> None:
    """One datagram must not stop the proxy: backtracking took a second for each of these."""
    ladder = Ladder()
    for name in (b"Via: SIP/2.0/UDP 10.77.1.100;x=,", b"Contact: ,", b"Route: ,", b"To: ,"):
        before = process_time()
        ladder.send(invite().replace(b"Via: ", name + rubbish + b"\r\nVia: ", 1), alice().seen)
        assert process_time() - before < 0.25


@pytest.mark.parametrize("without", [set(), {"received", "rport"}])
def test_nobody_has_us_answer_ourselves(without: set[str]) -> None:
    """A packet with our own address as its source, or as its Via where that is believed, would go round for ever."""
    ladder = Ladder(without)
    ours = alice().request(b"OPTIONS", b"sip:198.51.100.10").replace(b"UDP 10.77.1.100:5060", b"UDP 198.51.100.10:5060")
    assert ladder.send(ours, alice().seen if without else PROXY) == []
    assert ladder.engine.counts["no-way-back"] == 1
