"""Next hops that bear names: what is looked up, and what is tried after what (RFC 3263 §4, RFC 3261 §16.6 step 7)."""

from __future__ import annotations

import pytest

from tests.flows.follow import cancel
from tests.flows.ladder import MAPPED_BOB, Dialog, Ladder, Sent, alice, arrows, bob

A, B = alice().seen, bob().seen
FIRST, SECOND, THIRD = ("198.51.100.71", 5060), ("198.51.100.72", 5060), ("198.51.100.73", 5060)
URI = b"sip:x@elsewhere.example.com"


def wanting(uri: bytes = URI, method: bytes = b"INVITE") -> tuple[Ladder, bytes]:
    """Return a proxy that looks a name up for Alice, and her request."""
    ladder = Ladder(transports=("udp", "tcp", "tls"), allowed=[A[0]])
    data = alice().request(method, uri)
    assert ladder.send(data, A) == []
    return ladder, data


def answer(sent: Sent, status: int) -> bytes:
    return bob().answer(sent, status)


@pytest.mark.parametrize(
    ("uri", "host", "port", "transport", "secure"),
    [
        (URI, "elsewhere.example.com", None, None, False),
        (b"sip:x@elsewhere.example.com:5080", "elsewhere.example.com", 5080, None, False),
        (b"sip:x@elsewhere.example.com;transport=TCP", "elsewhere.example.com", None, "tcp", False),
        (b"sips:x@elsewhere.example.com", "elsewhere.example.com", None, "tls", True),
    ],
)
def test_what_the_uri_says_is_what_is_asked_for(
    uri: bytes, host: str, port: int | None, transport: str | None, secure: bool
) -> None:
    ladder, _ = wanting(uri)
    (asked,) = ladder.lookups
    assert asked[1:] == (host, port, transport, secure)


def test_a_hop_that_cannot_be_reached_gives_way_to_the_next() -> None:
    ladder, _ = wanting()
    (one,) = ladder.locate(("tcp", FIRST), ("udp", SECOND), ("udp", THIRD))
    assert (one.flow.transport, one.to) == ("tcp", FIRST)
    (two,) = ladder.fail(one)
    assert (two.flow.transport, two.to, two.values("Via")[0][:11]) == ("udp", SECOND, b"SIP/2.0/UDP")
    assert one.via().param(b"branch") != two.via().param(b"branch")
    assert arrows(ladder.send(answer(two, 200), SECOND)) == [("200", A)]


def test_a_hop_that_answers_503_gives_way_to_the_next() -> None:
    ladder, _ = wanting()
    (one,) = ladder.locate(("udp", FIRST), ("udp", SECOND))
    ours, two = ladder.send(answer(one, 503), FIRST)
    assert arrows([ours, two]) == [("ACK", FIRST), ("INVITE", SECOND)]
    assert arrows(ladder.send(answer(two, 503), SECOND)) == [("ACK", SECOND), ("500", A)]


def test_a_hop_that_is_silent_gives_way_to_the_next_after_timer_b() -> None:
    ladder, _ = wanting()
    ladder.locate(("udp", FIRST), ("udp", SECOND))
    sent = ladder.wait(32)
    assert [after for after, each in sent if each.to == SECOND] == [32]
    assert ("408", A) in arrows(each for _, each in ladder.wait(33))


def test_a_hop_that_rang_before_its_503_leaves_nothing_behind_for_the_next() -> None:
    """No CANCEL before the next hop's own 1xx, and no Timer C that runs from the first."""
    ladder, data = wanting()
    (one,) = ladder.locate(("udp", FIRST), ("udp", SECOND))
    ladder.send(answer(one, 180), FIRST)
    _, two = ladder.send(answer(one, 503), FIRST)
    assert arrows(ladder.send(cancel(data), A)) == [("200", A)]
    assert arrows(ladder.send(answer(two, 180), SECOND)) == [("CANCEL", SECOND)]


def test_any_other_refusal_is_an_answer() -> None:
    ladder, _ = wanting()
    (one,) = ladder.locate(("udp", FIRST), ("udp", SECOND))
    assert arrows(ladder.send(answer(one, 500), FIRST)) == [("ACK", FIRST), ("500", A)]


def test_hops_by_a_transport_or_ip_version_that_we_do_not_speak_are_passed_over() -> None:
    ladder, _ = wanting()
    (one,) = ladder.locate(("ws", FIRST), ("udp", ("2001:db8::1", 5060)), ("udp", SECOND))
    assert one.to == SECOND


def test_no_hop_at_all_is_answered_as_the_resolver_says() -> None:
    for status in (502, 504):
        ladder, _ = wanting()
        assert arrows(ladder.locate(status=status)) == [(str(status), A)]


def test_a_name_that_leads_to_us_or_to_loopback_is_refused() -> None:
    for where, status in ((("198.51.100.10", 5060), "482"), (("127.0.0.1", 22), "403")):
        ladder, _ = wanting()
        assert arrows(ladder.locate(("udp", where))) == [(status, A)]


def test_a_cancel_while_the_name_is_looked_up_ends_it_at_once() -> None:
    ladder, data = wanting()
    assert arrows(ladder.send(cancel(data), A)) == [("200", A), ("487", A)]
    assert ladder.locate(("udp", FIRST)) == []


def test_an_answer_to_a_lookup_that_nobody_waits_for_is_nothing() -> None:
    ladder, _ = wanting()
    ladder.locate(("udp", FIRST))
    assert ladder.locate(("udp", FIRST)) == []


def test_the_certificate_must_name_whom_the_uri_names() -> None:
    """RFC 5922 §4: also for the CANCEL."""
    ladder, data = wanting(b"sips:x@elsewhere.example.com")
    (invite,) = ladder.locate(("tls", FIRST))
    assert (invite.flow.transport, invite.server_name) == ("tls", "elsewhere.example.com")
    ladder.send(answer(invite, 180), FIRST, "tls", 5)
    _, passed = ladder.send(cancel(data), A)
    assert (passed.what, passed.server_name) == ("CANCEL", "elsewhere.example.com")


def test_an_ack_whose_next_hop_bears_a_name_arrives() -> None:
    """The callee's Contact is a name, so only its ACK and BYE need the look-up."""
    ladder = Ladder(mapping=MAPPED_BOB)
    ladder.send(alice().register(), A)
    (invite,) = ladder.send(alice().request(b"INVITE", bob().aor), A)
    (ok,) = ladder.says(bob(), bob().answer(invite, 200, contact=b"<sip:bob@phone.example.com>"))
    dialog = Dialog.of_caller(alice(), ok)
    for method in (b"ACK", b"BYE"):
        assert ladder.send(dialog.request(method), A) == []
        assert ladder.lookups[-1].host == "phone.example.com"
        (sent,) = ladder.locate(("udp", B))
        assert (sent.what, sent.to, sent.start.split()[1]) == (method.decode(), B, b"sip:bob@phone.example.com")
    assert ladder.send(dialog.request(b"ACK"), A) == []
    assert ladder.locate(status=502) == []
