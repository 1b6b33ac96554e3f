"""How what is forwarded looks and which way it takes: what the ladders of whole calls do not come by."""

from __future__ import annotations

import pytest

from proxy.core.flow import Flow
from proxy.core.forwarding import flow_of
from proxy.core.signer import TOKEN_LIFETIME_S, Signer, pack
from proxy.sip.errors import SipError
from tests.flows.ladder import Ladder, Phone, alice, bob

SIGNER = Signer(bytes(16))
NOW = 1_700_000_000.0


def registered(*phones: Phone) -> Ladder:
    ladder = Ladder()
    for phone in phones:
        ladder.one(phone.register(), phone.seen)
    return ladder


# Flows


def token(text: bytes, signer: Signer = SIGNER, now: float = NOW) -> bytes:
    return b"%b.%b" % (pack(text), signer.sign_until(now, b"flow", text))


@pytest.mark.parametrize(
    ("text", "flow"),
    [
        (b"udp/10.0.0.1:5060/10.0.0.2:40000/0", Flow("udp", ("10.0.0.1", 5060), ("10.0.0.2", 40000))),
        (b"tcp/[2001:db8::1]:5060/[2001:db8::2]:7/9", Flow("tcp", ("2001:db8::1", 5060), ("2001:db8::2", 7), 9)),
    ],
)  # fmt: skip
def test_a_flow_token_names_its_flow_for_a_day(text: bytes, flow: Flow) -> None:
    made = token(text)
    assert flow_of(made, SIGNER, NOW + TOKEN_LIFETIME_S) == flow
    with pytest.raises(SipError, match="403"):
        flow_of(made, SIGNER, NOW + TOKEN_LIFETIME_S + 1000)


@pytest.mark.parametrize(
    "forged",
    [
        b"", b".", b"A.A", b"\xff.\xff", token(b"udp/a:1/b:2/0", Signer(bytes(17))),
        token(b"x").replace(b".", b"A.", 1),
        pack(b"udp/10.0.0.1:1/10.0.0.2:2/0") + b"." + token(b"udp/10.0.0.1:1/10.0.0.3:2/0").partition(b".")[2],
    ],
)  # fmt: skip
def test_a_flow_token_of_anybody_else_is_403(forged: bytes) -> None:
    with pytest.raises(SipError, match="403"):
        flow_of(forged, SIGNER, NOW)


def test_a_phone_that_registered_by_a_socket_that_is_gone_is_unavailable() -> None:
    """The journal outlives the address that the proxy listened at."""
    callee = bob()
    before = registered(callee)
    after = Ladder(here=("198.51.100.11", 5060))
    after.location.load([each.record() for each in before.location.by_id.values()], after.now)
    caller = alice()
    assert after.status(caller.request(b"INVITE", b"sip:bob@198.51.100.11"), caller.seen) == 480


# Up


def test_challenges_of_the_branches_stand_below_the_best_one_in_their_own_order() -> None:
    """RFC 3261 §16.7 step 7; the topmost of a realm is the preferred (RFC 8760 §2.4)."""
    caller = alice()
    phones = [Phone("bob", ("198.51.100.200", port), ("198.51.100.200", port)) for port in (5060, 5062)]
    ladder = Ladder()
    for number, phone in enumerate(phones):
        ladder.one(phone.register(call_id=b"r%d" % number), phone.seen)
    invites = ladder.send(caller.request(b"INVITE", phones[0].aor, cseq=1), caller.seen)
    asked = {invite.to: invite for invite in invites}
    first, second = (asked[phone.seen] for phone in phones)
    challenge = b"Proxy-Authenticate: Digest realm=%b, algorithm=%b"
    one = [challenge % (b"one", name) for name in (b"SHA-256", b"MD5")]
    two = [challenge % (b"two", name) for name in (b"SHA-256", b"MD5")]
    ladder.send(phones[0].answer(first, 407, *one), phones[0].seen)
    sent = ladder.send(phones[1].answer(second, 407, *two), phones[1].seen)
    (answer,) = [each for each in sent if each.to == caller.seen]
    lines = [line for line in answer.message.lines if line.startswith(b"Proxy-Authenticate")]
    assert lines in ([*one, *two], [*two, *one])


def test_a_408_to_a_request_that_is_no_invite_goes_no_further() -> None:
    caller, callee = alice(), bob()
    ladder = registered(callee)
    question = ladder.one(caller.request(b"OPTIONS", callee.aor), caller.seen)
    assert ladder.send(callee.answer(question, 408), callee.seen) == []  # RFC 4320 §4.2
    invite = ladder.one(caller.request(b"INVITE", callee.aor, call_id=b"another"), caller.seen)
    sent = ladder.send(callee.answer(invite, 408), callee.seen)
    assert [(each.to, each.start[:12]) for each in sent] == [
        (callee.seen, b"ACK sip:bob@"), (caller.seen, b"SIP/2.0 408 "),
    ]  # fmt: skip


# ACK


def test_a_failure_that_comes_again_is_acknowledged_again_and_not_passed_on_again() -> None:
    caller, callee = alice(), bob()
    ladder = registered(callee)
    invite = ladder.one(caller.request(b"INVITE", callee.aor), caller.seen)
    ack, _ = ladder.send(callee.answer(invite, 486), callee.seen)
    for _ in range(3):
        assert [each.data for each in ladder.send(callee.answer(invite, 486), callee.seen)] == [ack.data]


def test_an_ack_for_a_failure_ends_at_the_proxy_however_often_it_comes() -> None:
    caller, callee = alice(), bob()
    ladder = registered(callee)
    invite = ladder.one(caller.request(b"INVITE", callee.aor, cseq=1), caller.seen)
    ladder.send(callee.answer(invite, 486), callee.seen)
    to = b"<%b>;tag=bob" % callee.aor
    for _ in range(3):
        assert ladder.send(caller.request(b"ACK", callee.aor, cseq=1, to=to), caller.seen) == []
    assert ladder.wait(4) == []  # nor is the failure sent again
