"""Router: next hop, Route lines, Max-Forwards (RFC 3261 §16.4 to §16.6)."""

from __future__ import annotations

import pytest

from proxy.core.flow import Flow
from proxy.core.location import Binding, Location
from proxy.core.remedies import Remedies
from proxy.core.route import MappedUser, NextHop, Router, decrement_max_forwards
from proxy.core.signer import Signer
from proxy.sip.errors import SipError
from proxy.sip.message import Request
from proxy.sip.parse import parse
from proxy.sip.uri import parse_uri

HERE = ("198.51.100.10", 5060)
SOURCE = ("198.51.100.20", 40000)


def request(uri: bytes, *lines: bytes, method: bytes = b"INVITE") -> Request:
    message = parse(b"\r\n".join((method + b" " + uri + b" SIP/2.0", b"Call-ID: c", *lines, b"", b"")))
    assert isinstance(message, Request)
    return message


def router(location: Location | None = None, mapping: dict[str, MappedUser] | None = None, flow: bool = True) -> Router:
    remedies = Remedies(flow=flow)
    return Router(HERE, ["Example.org"], mapping or {}, location or Location(), remedies, Signer(bytes(16)))


def hop(given: Request, by: Router | None = None) -> NextHop:
    by = by or router()
    found = by.next_hop(given, by.preprocess(given, parse_uri(given.uri)), 0.0)
    assert found is not None
    return by.allow(found)


def at(contact: bytes) -> Location:
    location = Location()
    location.save(b"a", Binding(contact, Flow("udp", HERE, SOURCE), 10.0, b"r", 1), 0.0)
    return location


def test_we_are_our_address_and_our_names() -> None:
    ours = router()
    assert ours.is_us(parse_uri(b"sip:x@198.51.100.10"))
    assert ours.is_us(parse_uri(b"sip:eXaMpLe.ORG:7777"))
    assert not ours.is_us(parse_uri(b"sip:198.51.100.10:5061"))


@pytest.mark.parametrize("method", [b"REGISTER", b"OPTIONS"])
def test_what_is_for_the_proxy_itself_has_no_next_hop(method: bytes) -> None:
    given = request(b"sip:example.org", method=method)
    assert router().next_hop(given, parse_uri(given.uri), 0.0) is None


def test_a_binding_leads_to_its_flow_with_the_phones_own_contact_as_request_uri() -> None:
    found = hop(request(b"sip:a@example.org"), router(at(b"sip:a@10.0.0.5;ob")))
    assert (found.address, found.uri.encode(), found.natted) == (SOURCE, b"sip:a@10.0.0.5;ob", True)


def test_a_binding_of_a_public_phone_is_not_behind_a_nat() -> None:
    assert not hop(request(b"sip:a@example.org"), router(at(b"sip:a@198.51.100.20:40000"))).natted


def test_without_the_flow_remedy_a_binding_leads_to_its_contact() -> None:
    assert hop(request(b"sip:a@example.org"), router(at(b"sip:a@10.0.0.5"), flow=False)).address == ("10.0.0.5", 5060)


def test_the_static_table_leads_to_the_phone_or_to_its_hole() -> None:
    table = {"b": MappedUser("198.51.100.7", 5070), "n": MappedUser("10.0.0.7", 5070, "198.51.100.8")}
    direct = hop(request(b"sip:b@example.org"), router(mapping=table))
    assert (direct.address, direct.uri.encode(), direct.natted) == (
        ("198.51.100.7", 5070), b"sip:b@198.51.100.7:5070", False,
    )  # fmt: skip
    hole = hop(request(b"sip:n@example.org"), router(mapping=table))
    assert (hole.address, hole.uri.encode(), hole.natted) == (("198.51.100.8", 5070), b"sip:n@10.0.0.7:5070", True)


def test_our_own_route_opens_the_way_to_the_next_and_only_for_its_call() -> None:
    ours = router()
    own = b"Route: " + ours.record_route(b"c")
    given = request(b"sip:x@198.51.100.9", own + b", <sip:198.51.100.8;lr>")
    assert hop(given, ours).address == ("198.51.100.8", 5060)
    assert given.values(b"route") == [b"<sip:198.51.100.8;lr>"]
    with pytest.raises(SipError, match="403 Forged Route"):
        hop(request(b"sip:x@198.51.100.9", b"Route: " + ours.record_route(b"other")), ours)


def test_a_strangers_routes_are_removed() -> None:
    given = request(b"sip:x@198.51.100.9", b"Route: <sip:198.51.100.8;lr>")
    assert hop(given).address == ("198.51.100.9", 5060)
    assert given.count(b"route") == 0


def test_a_strict_next_hop_becomes_the_request_uri() -> None:
    ours = router()
    own = b"Route: " + ours.record_route(b"c")
    given = request(b"sip:x@198.51.100.9", own, b"Route: <sip:198.51.100.8>, <sip:z;lr>")
    assert hop(given, ours).uri.encode() == b"sip:198.51.100.8"
    assert given.values(b"route") == [b"<sip:z;lr>", b"<sip:x@198.51.100.9>"]


def test_a_strict_previous_hop_is_repaired() -> None:
    ours = router()
    given = request(ours.record_route(b"c")[1:-1], b"Route: <sip:198.51.100.8;lr>", b"Route: <sip:x@198.51.100.9>")
    found = hop(given, ours)
    assert (found.address, found.uri.encode()) == (("198.51.100.8", 5060), b"sip:x@198.51.100.9")
    assert given.values(b"route") == [b"<sip:198.51.100.8;lr>"]


@pytest.mark.parametrize(
    ("line", "after"),
    [(b"Max-Forwards: 70", b"69"), (b"Max-Forwards: 1", b"0"), (b"X: y", b"70"), (b"max-forwards:\r\n 255", b"254")],
)
def test_a_hop_is_counted(line: bytes, after: bytes) -> None:
    given = request(b"sip:x", line)
    decrement_max_forwards(given)
    assert given.header(b"max-forwards") == after
