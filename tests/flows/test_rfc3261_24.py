"""The example of RFC 3261 §24: Bob registers at biloxi.com, Alice calls him through atlanta.com's proxy.

Ours is the biloxi.com proxy and registrar. The messages follow the RFC's; the addresses are the laboratory's.
"""

from __future__ import annotations

from proxy.sip.headers import parse_name_addr
from tests.flows.ladder import Ladder, arrows

ATLANTA, BOB = ("198.51.100.1", 5060), ("198.51.100.4", 5060)

REGISTER = b"""\
REGISTER sip:registrar.biloxi.com SIP/2.0
Via: SIP/2.0/UDP 198.51.100.4:5060;branch=z9hG4bKnashds7
Max-Forwards: 70
To: Bob <sip:bob@biloxi.com>
From: Bob <sip:bob@biloxi.com>;tag=456248
Call-ID: 843817637684230@998sdasdh09
CSeq: 1826 REGISTER
Contact: <sip:bob@198.51.100.4>
Expires: 7200
Content-Length: 0

"""
INVITE = b"""\
INVITE sip:bob@biloxi.com SIP/2.0
Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK77ef4c2312983.1
Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnashds8;received=198.51.100.3
Max-Forwards: 69
Record-Route: <sip:198.51.100.1;lr>
To: Bob <sip:bob@biloxi.com>
From: Alice <sip:alice@atlanta.com>;tag=1928301774
Call-ID: a84b4c76e66710
CSeq: 314159 INVITE
Contact: <sip:alice@pc33.atlanta.com>
Content-Type: application/sdp
Content-Length: 5

v=0

"""
OK = b"""\
SIP/2.0 200 OK
%b
%b
Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnashds8;received=198.51.100.3
%b
Record-Route: <sip:198.51.100.1;lr>
To: Bob <sip:bob@biloxi.com>;tag=a6c85cf
From: Alice <sip:alice@atlanta.com>;tag=1928301774
Call-ID: a84b4c76e66710
CSeq: 314159 INVITE
Contact: <sip:bob@198.51.100.4>
Content-Length: 0

"""
ACK = b"""\
ACK sip:bob@198.51.100.4 SIP/2.0
Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK77ef4c2312983.2
Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnashds9;received=198.51.100.3
Max-Forwards: 69
Route: %b
To: Bob <sip:bob@biloxi.com>;tag=a6c85cf
From: Alice <sip:alice@atlanta.com>;tag=1928301774
Call-ID: a84b4c76e66710
CSeq: 314159 ACK
Content-Length: 0

"""
BYE = b"""\
BYE sip:alice@pc33.atlanta.com SIP/2.0
Via: SIP/2.0/UDP 198.51.100.4;branch=z9hG4bKnashds10
Max-Forwards: 70
Route: %b
Route: <sip:198.51.100.1;lr>
From: Bob <sip:bob@biloxi.com>;tag=a6c85cf
To: Alice <sip:alice@atlanta.com>;tag=1928301774
Call-ID: a84b4c76e66710
CSeq: 231 BYE
Content-Length: 0

"""


def wire(text: bytes, *lines: bytes) -> bytes:
    """Return a message as it is sent, with these lines or values put in."""
    return (text % lines if lines else text).replace(b"\n", b"\r\n")


def test_the_session_of_rfc_3261_24_2() -> None:
    proxy = Ladder(domains=("biloxi.com", "registrar.biloxi.com"))
    registered = proxy.one(wire(REGISTER), BOB)  # §24.1: F1, F2
    assert arrows([registered]) == [("200", BOB)]
    assert registered.values("Contact") == [b"<sip:bob@198.51.100.4>;expires=7200"]

    trying, invite = proxy.carry_out(proxy.engine.receive(wire(INVITE), proxy.flow(ATLANTA), proxy.now))  # F2, F5, F4
    assert arrows([trying, invite]) == [("100", ATLANTA), ("INVITE", BOB)]
    assert invite.start == b"INVITE sip:bob@198.51.100.4 SIP/2.0"
    assert len(invite.values("Via")) == 3
    assert invite.header("Max-Forwards") == b"68"
    assert invite.values("Record-Route")[1:] == [b"<sip:198.51.100.1;lr>"]
    assert invite.header("Contact") == b"<sip:alice@pc33.atlanta.com>"
    assert invite.message.body == b"v=0\r\n"

    vias, ours = invite.values("Via"), invite.values("Record-Route")[0]
    answer = wire(OK, b"Via: " + vias[0], b"Via: " + vias[1], b"Record-Route: " + ours)
    ringing = proxy.one(answer.replace(b"200 OK", b"180 Ringing"), BOB)  # F6, F7
    assert arrows([ringing]) == [("180", ATLANTA)]
    ok = proxy.one(answer, BOB)  # F9, F10
    assert arrows([ok]) == [("200", ATLANTA)]
    assert ok.values("Via") == vias[1:]
    assert ok.values("Record-Route") == [ours, b"<sip:198.51.100.1;lr>"]

    ack = proxy.one(wire(ACK, ours), ATLANTA)  # F12
    assert arrows([ack]) == [("ACK", BOB)]
    assert ack.start == b"ACK sip:bob@198.51.100.4 SIP/2.0"
    assert ack.values("Route") == []

    bye = proxy.one(wire(BYE, ours), BOB)  # F13, by the route set of the dialog
    assert arrows([bye]) == [("BYE", ATLANTA)]
    assert bye.start == b"BYE sip:alice@pc33.atlanta.com SIP/2.0"
    assert bye.values("Route") == [b"<sip:198.51.100.1;lr>"]
    done = bye.data.replace(b"BYE sip:alice@pc33.atlanta.com SIP/2.0", b"SIP/2.0 200 OK")
    assert arrows([proxy.one(done, ATLANTA)]) == [("200", BOB)]  # F14

    assert proxy.wait(100) == []
    assert len(proxy.engine.transactions) == 0


def test_our_record_route_names_our_address() -> None:
    """So that a phone need not look our name up; §16.6 step 4 leaves it to us."""
    proxy = Ladder(domains=("biloxi.com", "registrar.biloxi.com"))
    proxy.one(wire(REGISTER), BOB)
    invite = proxy.one(wire(INVITE), ATLANTA)
    ours = parse_name_addr(invite.values("Record-Route")[0]).parsed()
    assert (ours.address, ours.param(b"lr")) == (proxy.here, b"")
