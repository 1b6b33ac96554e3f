"""From one transport, IP version or connection to another (RFC 3261 §18, RFC 5658, RFC 5118)."""

from __future__ import annotations

import pytest

from proxy.core.effects import Forget
from proxy.core.flow import Address
from proxy.sip.headers import parse_name_addr, parse_via
from tests.flows.ladder import MAPPED_BOB, PROXY, Dialog, Ladder, Phone, Sent, alice, arrows, bob

V6: Address = ("2001:db8::10", 5060)


def phone(name: str, transport: str, connection: int = 0, v6: bool = False) -> Phone:
    """Return a phone behind a NAT of its own."""
    number = {"alice": 20, "bob": 21}[name]
    seen = (f"2001:db8::{number}", 40000) if v6 else (f"198.51.100.{number}", 40000)
    own = ("fd00::100", 5060) if v6 else ("10.77.1.100", 5060)
    return Phone(name, own, seen, transport=transport, connection=connection)


def call(ladder: Ladder, caller: Phone, callee: Phone) -> tuple[Sent, Sent]:
    """Register both, place a call; return the INVITE as the callee has it and the 200 as the caller has it."""
    for each in (caller, callee):
        assert arrows(ladder.says(each, each.register())) == [("200", each.seen)]
    (invite,) = ladder.says(caller, caller.request(b"INVITE", callee.aor))
    (ok,) = ladder.says(callee, callee.answer(invite, 200))
    assert arrows([invite, ok]) == [("INVITE", callee.seen), ("200", caller.seen)]
    return invite, ok


def hang_up(ladder: Ladder, dialog: Dialog, other: Phone) -> None:
    """ACK where it is the caller's, BYE, 200; the other side sees its own Contact and no Route of ours."""
    for method in (b"ACK", b"BYE"):
        (sent,) = ladder.says(dialog.phone, dialog.request(method))
        assert arrows([sent]) == [(method.decode(), other.seen)]
        assert sent.start == b"%b %b SIP/2.0" % (method, other.contact)
        assert sent.values("Route") == []
        assert not sent.may_open or other.transport == "udp"
    assert arrows(ladder.says(other, other.answer(sent, 200, contact=b""))) == [("200", dialog.phone.seen)]


PAIRS = [("udp", "tcp"), ("tcp", "udp"), ("udp", "tls"), ("tls", "tcp"), ("tcp", "tcp"), ("tls", "tls"), ("udp", "udp")]


@pytest.mark.parametrize("transports", PAIRS, ids="-".join)
@pytest.mark.parametrize("versions", [(False, False), (True, True), (True, False), (False, True)])
def test_a_call_from_any_transport_and_ip_version_to_any_other(
    transports: tuple[str, str], versions: tuple[bool, bool]
) -> None:
    """RFC 5658 §5: one Record-Route for each side where they differ; requests within the dialog consume both."""
    caller = phone("alice", transports[0], 3 if transports[0] != "udp" else 0, versions[0])
    callee = phone("bob", transports[1], 4 if transports[1] != "udp" else 0, versions[1])
    ladder = Ladder(transports=("udp", "tcp", "tls"), also=V6)
    invite, ok = call(ladder, caller, callee)
    ends = [ladder.flow(each.seen, each.transport) for each in (callee, caller)]
    routes = [parse_name_addr(value).parsed() for value in invite.values("Record-Route")]
    if transports[0] == transports[1] and versions[0] == versions[1]:
        assert [route.address for route in routes] == [ends[0].local]
        assert routes[0].param(b"r2") is None
    else:
        assert [route.address for route in routes] == [end.local for end in ends]  # the callee's side above
        assert [route.param(b"transport") or b"udp" for route in routes] == [end.transport.encode() for end in ends]
        assert all(route.param(b"r2") == b"on" and route.param(b"lr") == b"" for route in routes)
    top = parse_via(invite.values("Via")[0])
    assert (top.transport, top.sent_by) == (ends[0].transport.upper().encode(), ends[0].local)
    hang_up(ladder, Dialog.of_caller(caller, ok), callee)
    ladder = Ladder(transports=("udp", "tcp", "tls"), also=V6)
    invite, ok = call(ladder, caller, callee)
    hang_up(ladder, Dialog.of_callee(callee, invite), caller)


def test_an_ipv6_address_is_in_brackets_wherever_a_host_stands_and_bare_in_received() -> None:
    """RFC 3261 §25.1: via-received is the one place without them."""
    ladder, caller, callee = Ladder(also=V6), phone("alice", "udp", v6=True), phone("bob", "udp", v6=True)
    (registered,) = ladder.says(caller, caller.register())
    assert registered.values("Contact") == [b"<sip:alice@[fd00::100]:5060>;expires=3600"]
    invite, ok = call(ladder, caller, callee)
    assert invite.values("Via")[0].startswith(b"SIP/2.0/UDP [2001:db8::10]:5060;")
    assert invite.values("Via")[1].startswith(b"SIP/2.0/UDP [fd00::100]:5060;")
    assert (invite.via(1).param(b"received"), invite.via(1).param(b"rport")) == (b"2001:db8::20", b"40000")
    assert invite.values("Record-Route")[0].startswith(b"<sip:[2001:db8::10]:5060;lr;d=")
    assert invite.values("Contact")[0].startswith(b"<sip:alice@[2001:db8::20]:40000;behind=")
    assert ok.values("Contact")[0].startswith(b"<sip:bob@[2001:db8::21]:40000;behind=")


# Too large for UDP (§18.1.1)

LARGE = b"x" * 1300


def test_a_request_too_large_for_udp_goes_by_tcp_and_by_udp_when_that_fails() -> None:
    ladder, caller = Ladder(mapping=MAPPED_BOB), alice()
    (stream,) = ladder.says(caller, caller.request(b"INVITE", bob().aor, body=LARGE))
    assert (stream.flow.transport, stream.to, stream.may_open) == ("tcp", bob().seen, True)
    assert stream.values("Via")[0].startswith(b"SIP/2.0/TCP ")
    assert b";transport=tcp" in stream.values("Record-Route")[0]
    (datagram,) = ladder.fail(stream)
    assert (datagram.flow.transport, datagram.to) == ("udp", bob().seen)
    assert datagram.values("Via")[0].startswith(b"SIP/2.0/UDP ")
    assert len(datagram.values("Record-Route")) == 1
    assert arrows(ladder.says(bob(), bob().answer(datagram, 200))) == [("200", caller.seen)]


def test_a_request_that_just_fits_stays_on_udp() -> None:
    def leaves_by(size: int) -> tuple[str, int]:
        (sent,) = Ladder(mapping=MAPPED_BOB).says(alice(), alice().request(b"INVITE", bob().aor, body=b"x" * size))
        return sent.flow.transport, len(sent.data)

    room = 1300 - leaves_by(100)[1] + 100
    assert leaves_by(room) == ("udp", 1300)
    assert leaves_by(room + 1)[0] == "tcp"


def test_without_tcp_a_large_request_goes_by_udp() -> None:
    ladder = Ladder(mapping=MAPPED_BOB, transports=("udp",))
    (sent,) = ladder.says(alice(), alice().request(b"INVITE", bob().aor, body=LARGE))
    assert sent.flow.transport == "udp"


def test_a_registered_phone_gets_a_large_request_on_its_flow_all_the_same() -> None:
    """Nothing but the flow passes its NAT."""
    ladder, callee = Ladder(), phone("bob", "udp")
    ladder.says(callee, callee.register())
    (sent,) = ladder.says(alice(), alice().request(b"INVITE", callee.aor, body=LARGE))
    assert (sent.flow.transport, sent.to) == ("udp", callee.seen)


# Connections


def test_a_phone_behind_a_nat_is_reached_on_its_connection_only() -> None:
    ladder, callee = Ladder(), phone("bob", "tcp", 7)
    ladder.says(callee, callee.register())
    (invite,) = ladder.says(alice(), alice().request(b"INVITE", callee.aor))
    assert (invite.flow.connection, invite.may_open) == (7, False)
    (answer,) = ladder.fail(invite)
    assert arrows([answer]) == [("480", alice().seen)]
    assert ladder.location.by_id == {}
    assert isinstance(ladder.journal[-1], Forget)


def test_a_phone_on_the_internet_is_called_by_a_new_connection_when_its_own_is_gone() -> None:
    """And when that cannot be made either, it is not there (RFC 5626 §5.3)."""
    ladder, callee = Ladder(), Phone("bob", bob().seen, bob().seen, transport="tcp", connection=7)
    ladder.says(callee, callee.register())
    (invite,) = ladder.says(alice(), alice().request(b"INVITE", callee.aor))
    (again,) = ladder.fail(invite)
    assert (again.what, again.to, again.flow.connection, again.may_open) == ("INVITE", bob().seen, 0, True)
    assert len(ladder.location.by_id) == 1
    assert arrows(ladder.fail(again)) == [("480", alice().seen)]


def test_a_udp_phone_that_cannot_be_sent_to_keeps_its_binding() -> None:
    ladder, callee = Ladder(), phone("bob", "udp")
    ladder.says(callee, callee.register())
    (invite,) = ladder.says(alice(), alice().request(b"INVITE", callee.aor))
    assert arrows(ladder.fail(invite)) == [("480", alice().seen)]
    assert len(ladder.location.by_id) == 1


def test_an_answer_whose_connection_is_gone_opens_another_to_the_via() -> None:
    """§18.2.2: to the sent-by port, for the source port was the client's for this connection."""
    ladder = Ladder(mapping=MAPPED_BOB)
    caller = Phone("alice", ("198.51.100.60", 5060), ("198.51.100.60", 49152), transport="tcp", connection=9)
    (invite,) = ladder.says(caller, caller.request(b"INVITE", bob().aor))
    (ok,) = ladder.says(bob(), bob().answer(invite, 200))
    assert ok.flow.connection == 9
    (again,) = ladder.fail(ok)
    assert (again.to, again.flow.connection, again.may_open) == (caller.own, 0, True)
    assert again.data == ok.data
    assert ladder.fail(again) == []


def test_an_answer_to_a_phone_behind_a_nat_is_lost_with_its_connection() -> None:
    ladder, caller = Ladder(mapping=MAPPED_BOB), phone("alice", "tcp", 9)
    (invite,) = ladder.says(caller, caller.request(b"INVITE", bob().aor))
    (ok,) = ladder.says(bob(), bob().answer(invite, 200))
    assert not ok.may_open
    assert ladder.fail(ok) == []


def test_a_binding_from_before_a_restart_at_another_address_is_not_called() -> None:
    """The journal may name a listener that is gone; no message may stumble over that."""
    before, callee = Ladder(), phone("bob", "udp")
    before.says(callee, callee.register())
    records = [binding.record() for binding in before.location.by_id.values()]
    ladder = Ladder(here=("198.51.100.11", 5060), keepalive_s=5)
    assert ladder.location.load(records, ladder.now) == 1
    assert ladder.status(alice().request(b"MESSAGE", b"sip:bob@198.51.100.11"), alice().seen) == 480
    ladder.carry_out(ladder.engine.start(ladder.now))
    assert ladder.wait(60) == []
    assert ladder.location.by_id == {}


# TLS


def test_a_sips_request_leaves_by_tls_and_record_routes_as_sips() -> None:
    """RFC 3261 §16.6 step 4, §26.2.2."""
    ladder = Ladder(transports=("udp", "tcp", "tls"), allowed=[alice().seen[0]])
    (invite,) = ladder.says(alice(), alice().request(b"INVITE", b"sips:x@198.51.100.77"))
    assert (invite.flow.transport, invite.to) == ("tls", ("198.51.100.77", 5061))
    assert invite.values("Via")[0].startswith(b"SIP/2.0/TLS 198.51.100.10:5061;")
    assert invite.values("Record-Route")[0].startswith(b"<sips:198.51.100.10:5061;")


def test_a_sips_request_does_not_reach_a_phone_that_registered_with_sip() -> None:
    """RFC 5630 §5.3."""
    ladder = Ladder(transports=("udp", "tcp", "tls"))
    ladder.says(bob(), bob().register())
    assert ladder.status(alice().request(b"INVITE", b"sips:bob@198.51.100.10"), alice().seen) == 480
    secure = phone("bob", "tls", 8)
    ladder.says(secure, secure.register(contact=b"<sips:bob@10.77.1.100>", call_id=b"secure"))
    (invite,) = ladder.says(alice(), alice().request(b"INVITE", b"sips:bob@198.51.100.10", cseq=2))
    assert (invite.flow.transport, invite.flow.connection) == ("tls", 8)


def test_the_proxy_is_itself_at_the_tls_port_too() -> None:
    ladder = Ladder(transports=("udp", "tls"))
    uri = b"sip:198.51.100.10:%d;transport=tls" % (PROXY[1] + 1)
    assert ladder.status(alice().request(b"OPTIONS", uri), alice().seen) == 200
