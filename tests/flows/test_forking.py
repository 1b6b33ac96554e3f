"""One request, several phones (RFC 3261 §16.6, §16.7; RFC 5393 §5.3): who is called when, and what the caller hears."""

from __future__ import annotations

import pytest

from proxy.core.flow import Address
from proxy.core.transaction import Times
from tests.flows.follow import cancel
from tests.flows.ladder import Ladder, Phone, Sent, arrows, bob

CALLER = bob()
C = CALLER.seen
AOR = b"sip:team@198.51.100.10"


def desk(number: int, transport: str = "udp") -> Phone:
    """Return one of the team's phones, on the Internet."""
    where = (f"198.51.100.{100 + number}", 5060)
    connection = 0 if transport == "udp" else number
    return Phone("team", where, where, b"desk-%d" % number, transport=transport, connection=connection)


def team(*qs: bytes, transport: str = "udp") -> tuple[Ladder, list[Phone]]:
    """Return a proxy where the team has a phone for each q."""
    ladder, phones = Ladder(), []
    for number, q in enumerate(qs):
        phone = desk(number + 1, transport)
        contact = b"<%b>;q=%b" % (phone.contact, q)
        assert ladder.says(phone, phone.register(contact=contact, call_id=phone.call_id))[0].what == "200"
        phones.append(phone)
    return ladder, phones


def call(ladder: Ladder, phones: list[Phone]) -> tuple[bytes, dict[Address, Sent]]:
    """Call the team; return the INVITE, and what reached which phone."""
    data = bob().request(b"INVITE", AOR)
    return data, {phone.seen: sent for sent in ladder.send(data, C) for phone in phones if phone.seen == sent.to}


def answer(ladder: Ladder, phone: Phone, invite: Sent, status: int, *lines: bytes) -> list[tuple[str, Address]]:
    tag = b";tag=%b" % phone.call_id  # every phone has a tag of its own
    data = phone.answer(invite, status, *lines).replace(b";tag=team", tag)
    return arrows(ladder.says(phone, data))


def test_all_of_one_q_ring_at_once_and_the_first_2xx_ends_it() -> None:
    """§16.7 steps 5 and 10: the others are cancelled, and their 487s stay here."""
    ladder, (one, two, three) = team(b"0.5", b"0.5", b"0.5")
    _, at = call(ladder, [one, two, three])
    assert len(at) == 3
    branches = {invite.via().param(b"branch") for invite in at.values()}
    assert len(branches) == 3
    for phone in (one, two, three):
        assert answer(ladder, phone, at[phone.seen], 180) == [("180", C)]
    won = answer(ladder, two, at[two.seen], 200)
    assert won[0] == ("200", C)
    assert sorted(won[1:]) == [("CANCEL", one.seen), ("CANCEL", three.seen)]
    for phone in (one, three):
        assert answer(ladder, phone, at[phone.seen], 487) == [("ACK", phone.seen)]


def test_a_late_second_2xx_goes_up_too() -> None:
    """§16.7 step 5: the caller must know of every session, to end one."""
    ladder, (one, two) = team(b"1", b"1")
    _, at = call(ladder, [one, two])
    answer(ladder, one, at[one.seen], 180)
    assert answer(ladder, two, at[two.seen], 200) == [("200", C), ("CANCEL", one.seen)]
    assert answer(ladder, one, at[one.seen], 200) == [("200", C)]
    assert answer(ladder, two, at[two.seen], 200) == [("200", C)]


def test_a_2xx_wins_over_a_6xx_that_came_before_it() -> None:
    """§16.7 step 10: its CANCEL crossed it."""
    ladder, (one, two) = team(b"1", b"1")
    _, at = call(ladder, [one, two])
    answer(ladder, one, at[one.seen], 180)
    assert answer(ladder, two, at[two.seen], 603) == [("ACK", two.seen), ("CANCEL", one.seen)]
    assert answer(ladder, one, at[one.seen], 200) == [("200", C)]


def test_the_lower_q_is_called_when_the_higher_has_failed() -> None:
    ladder, (low, high, middle) = team(b"0.1", b"0.9", b"0.5")
    _, at = call(ladder, [low, high, middle])
    assert list(at) == [high.seen]
    assert answer(ladder, high, at[high.seen], 480) == [("ACK", high.seen), ("INVITE", middle.seen)]
    sent = ladder.wait(32)  # nobody there
    assert ("INVITE", low.seen) in arrows(each for _, each in sent)
    invite = next(each for _, each in sent if each.to == low.seen)
    assert answer(ladder, low, invite, 200) == [("200", C)]


def test_a_2xx_leaves_the_lower_q_in_peace() -> None:
    ladder, (low, high) = team(b"0.1", b"0.9")
    _, at = call(ladder, [low, high])
    assert answer(ladder, high, at[high.seen], 200) == [("200", C)]
    assert not any(each.to == low.seen for _, each in ladder.wait(300))


@pytest.mark.parametrize(
    ("statuses", "best"),
    [
        ((404, 486, 302), "302"),  # the lowest class
        ((500, 404, 503), "404"),
        ((486, 401, 404), "401"),  # what tells the caller how to do better (§16.7 step 6)
        ((486, 415, 404), "415"),
        ((404, 486, 480), "404"),  # the first in order
        ((503, 503, 503), "500"),  # a 503 is about the next hop, not about us
        ((503, 500, 503), "500"),
        ((408, 503, 500), "408"),
    ],
)
def test_the_best_response_is_chosen(statuses: tuple[int, int, int], best: str) -> None:
    ladder, phones = team(b"1", b"1", b"1")
    _, at = call(ladder, phones)
    in_order = [next(phone for phone in phones if phone.seen == where) for where in at]
    for phone, status in zip(in_order[:-1], statuses[:-1], strict=True):
        assert answer(ladder, phone, at[phone.seen], status) == [("ACK", phone.seen)]
    last = in_order[-1]
    assert answer(ladder, last, at[last.seen], statuses[-1]) == [("ACK", last.seen), (best, C)]


def test_a_6xx_ends_the_others_and_wins_when_they_have_ended() -> None:
    """§16.7 step 5: not forwarded at once, so that a 2xx that is on its way still wins."""
    ladder, (low, one, two) = team(b"0.1", b"1", b"1")
    _, at = call(ladder, [low, one, two])
    answer(ladder, one, at[one.seen], 180)
    assert answer(ladder, two, at[two.seen], 603) == [("ACK", two.seen), ("CANCEL", one.seen)]
    assert answer(ladder, one, at[one.seen], 487) == [("ACK", one.seen), ("603", C)]


def test_challenges_are_collected_from_all_phones() -> None:
    """§16.7 step 7: the caller answers all at once."""
    ladder, (one, two, three) = team(b"1", b"1", b"1")
    _, at = call(ladder, [one, two, three])
    for phone, status, line in (
        (one, 401, b'WWW-Authenticate: Digest realm="one", nonce="1"'),
        (two, 407, b'Proxy-Authenticate: Digest realm="two", nonce="2"'),
    ):
        answer(ladder, phone, at[phone.seen], status, line)
    data = three.answer(at[three.seen], 401, b'WWW-Authenticate: Digest realm="three", nonce="3"')
    *_, best = ladder.says(three, data)
    assert best.what in {"401", "407"}
    lines = [line for line in best.message.lines if b"-Authenticate:" in line]
    assert sorted(line.split(b",")[0] for line in lines) == [
        b'Proxy-Authenticate: Digest realm="two"',
        b'WWW-Authenticate: Digest realm="one"',
        b'WWW-Authenticate: Digest realm="three"',
    ]


def test_a_redirection_is_passed_on_and_not_followed() -> None:
    """§16.7 step 4 would allow the proxy to recurse; the caller does, and knows better whom he trusts."""
    ladder, (one,) = team(b"1")
    _, at = call(ladder, [one])
    data = one.answer(at[one.seen], 302, contact=b"<sip:bob@198.51.100.77>")
    _, moved = ladder.says(one, data)
    assert (moved.what, moved.values("Contact")) == ("302", [b"<sip:bob@198.51.100.77>"])
    assert len(ladder.engine.transactions.clients) == 1


def test_a_cancel_reaches_who_rings_at_once_and_the_others_when_they_do() -> None:
    """§9.1, §16.10: no CANCEL before a provisional response; one branch that stays silent ends with its Timer B."""
    ladder, (one, two, three) = team(b"1", b"1", b"1")
    data, at = call(ladder, [one, two, three])
    answer(ladder, one, at[one.seen], 180)
    assert arrows(ladder.send(cancel(data), C)) == [("200", C), ("CANCEL", one.seen)]
    assert answer(ladder, two, at[two.seen], 100) == [("CANCEL", two.seen)]
    assert answer(ladder, one, at[one.seen], 487) == [("ACK", one.seen)]
    assert answer(ladder, two, at[two.seen], 487) == [("ACK", two.seen)]
    assert ("487", C) in arrows(each for _, each in ladder.wait(32))


def test_a_cancel_leaves_the_lower_q_in_peace() -> None:
    ladder, (low, high) = team(b"0.1", b"0.9")
    data, at = call(ladder, [low, high])
    answer(ladder, high, at[high.seen], 180)
    ladder.send(cancel(data), C)
    assert answer(ladder, high, at[high.seen], 487) == [("ACK", high.seen), ("487", C)]
    assert not any(each.to == low.seen for _, each in ladder.wait(300))


def test_timer_c_of_the_higher_q_gives_the_lower_its_turn() -> None:
    ladder, (low, high) = team(b"0.1", b"0.9")
    _, at = call(ladder, [low, high])
    answer(ladder, high, at[high.seen], 180)
    ladder.wait(Times().c)
    assert answer(ladder, high, at[high.seen], 487) == [("ACK", high.seen), ("INVITE", low.seen)]


def test_a_phone_whose_connection_is_gone_fails_alone() -> None:
    """§16.9: as if a 503 had come."""
    ladder, (one, two) = team(b"1", b"1", transport="tcp")
    data = bob().request(b"INVITE", AOR)
    invites = {sent.to: sent for sent in ladder.send(data, C)}
    assert ladder.fail(invites[one.seen])[0].flow.connection == 0  # it is on the Internet: once more, by a new one
    assert answer(ladder, two, invites[two.seen], 200) == [("200", C)]


def test_a_name_that_does_not_exist_fails_alone() -> None:
    ladder, phone = Ladder({"flow"}), desk(1)
    ladder.says(phone, phone.register(contact=b"<sip:team@gone.example.com>, <%b>" % phone.contact))
    (invite,) = ladder.send(bob().request(b"INVITE", AOR), C)
    assert ladder.lookups[-1].host == "gone.example.com"
    assert ladder.locate(status=502) == []
    assert answer(ladder, phone, invite, 486) == [("ACK", phone.seen), ("486", C)]


def test_ten_bindings_are_all_called() -> None:
    ladder, phones = team(*[b"1"] * 10)
    _, at = call(ladder, phones)
    assert len(at) == 10
    assert {invite.header("Max-Breadth") for invite in at.values()} == {b"6"}


@pytest.mark.parametrize(("given", "each"), [(b"9", b"3"), (b"3", b"1"), (b"61", b"20")])
def test_max_breadth_is_shared_among_the_branches(given: bytes, each: bytes) -> None:
    """RFC 5393 §5.3.3: the sum never exceeds what came."""
    ladder, _ = team(b"1", b"1", b"1")
    sent = ladder.send(bob().request(b"INVITE", AOR, b"Max-Breadth: " + given), C)
    assert [invite.header("Max-Breadth") for invite in sent] == [each] * 3


def test_more_branches_than_max_breadth_allows_are_440() -> None:
    ladder, _ = team(b"1", b"1", b"1")
    assert ladder.status(bob().request(b"INVITE", AOR, b"Max-Breadth: 2"), C) == 440


def test_phones_that_are_called_one_after_another_share_nothing() -> None:
    ladder, (low, high) = team(b"0.1", b"0.9")
    (invite,) = ladder.send(bob().request(b"INVITE", AOR, b"Max-Breadth: 1"), C)
    assert (invite.to, invite.header("Max-Breadth")) == (high.seen, b"1")
    assert answer(ladder, high, invite, 486) == [("ACK", high.seen), ("INVITE", low.seen)]


def test_of_a_forked_message_one_2xx_goes_up_and_nobody_is_cancelled() -> None:
    """§9.1: only an INVITE is cancelled; §17.2.2: one final response."""
    ladder, (one, two) = team(b"1", b"1")
    sent = {each.to: each for each in ladder.send(bob().request(b"MESSAGE", AOR), C)}
    assert answer(ladder, one, sent[one.seen], 200) == [("200", C)]
    assert answer(ladder, two, sent[two.seen], 200) == []
