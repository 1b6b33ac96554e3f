"""Router: who we are, Routes, targets, Max-Forwards (RFC 3261 §16.4 to §16.6)."""

from __future__ import annotations

import re

import pytest

from proxy.core.flow import Address, Flow
from proxy.core.listeners import Listener, Listeners
from proxy.core.location import Binding, Location
from proxy.core.remedies import Remedies
from proxy.core.route import MAX_TARGETS, MappedUser, Router, decrement_max_forwards, dialog_token
from proxy.core.signer import TOKEN_LIFETIME_S, Signer
from proxy.core.target import Target
from proxy.sip.errors import SipError
from proxy.sip.message import Request
from proxy.sip.parse import parse
from proxy.sip.uri import parse_uri

HERE = ("198.51.100.10", 5060)
TLS = ("198.51.100.10", 5061)
SOURCE = ("198.51.100.20", 40000)
FLOW = Flow("udp", HERE, SOURCE)
SIGNER = Signer(bytes(16))
NOW = 1_700_000_000.0
SENDER = "198.51.100.66"  # where what is tested comes from
URN = b"urn:uuid:1"


def request(uri: bytes, *lines: bytes, method: bytes = b"INVITE") -> Request:
    message = parse(b"\r\n".join((method + b" " + uri + b" SIP/2.0", b"Call-ID: c", *lines, b"", b"")))
    assert isinstance(message, Request)
    return message


def router(location: Location | None = None, mapping: dict[str, MappedUser] | None = None, flow: bool = True) -> Router:
    listeners = Listeners([Listener("udp", HERE), Listener("tls", TLS)])
    return Router(listeners, ["Example.org"], mapping or {}, location or Location(), Remedies(flow=flow), SIGNER)


def targets(given: Request, by: Router | None = None, is_trusted: bool = False) -> list[Target]:
    by = by or router()
    uri, known = by.preprocess(given, parse_uri(given.uri), SENDER, NOW)
    found = by.targets(given, uri, known or is_trusted, NOW)
    assert found is not None
    return found


def one(given: Request, by: Router | None = None, is_trusted: bool = False) -> Target:
    (target,) = targets(given, by, is_trusted)
    return target


def registered(*contacts: bytes, expires_at: float = NOW + 10, natted: bool = True) -> Location:
    """Return a table in which the user "a" has these contacts, the newest last; q=, gr=, reg=, path= may follow."""
    location = Location()
    bindings = []
    for number, contact in enumerate(contacts):
        uri, *more = contact.split(b" ")
        given = dict(each.split(b"=", 1) for each in more)
        flow = FLOW._replace(remote=(SOURCE[0], SOURCE[1] + number))
        bindings.append(
            Binding(
                b"a", uri, uri, flow, expires_at, b"r", 1, int(given.get(b"q", b"1000")), natted, given.get(b"gr", b""),
                int(given.get(b"reg", b"0")), given.get(b"path", b""),
            )
        )  # fmt: skip
    location.replace(b"a", bindings, NOW - 100)
    return location


def own(params: bytes = b"", call_id: bytes = b"c", now: float = NOW, address: Address = HERE) -> bytes:
    """Return one of our own Record-Routes."""
    token = dialog_token(SIGNER, call_id, (SENDER,), now)
    return b"<sip:%b:%d;lr%b%b>" % (address[0].encode(), address[1], params, token)


WRITTEN = (
    own(), own(b";r2=on"), own(address=TLS).replace(b";lr", b";transport=tls;lr"), own().replace(b"<sip:", b"<sips:"),
    own(now=NOW - 2 * TOKEN_LIFETIME_S), own(call_id=b"other"), b"<sip:198.51.100.10:5060;lr>",
)  # fmt: skip
UNUSUAL = (
    own().upper(), own().replace(b"sip", b"SIP"), own().replace(b"5060", b"50600"), own().replace(b";lr", b";lrx"),
    own().replace(b">", b">;x=1"), b"A " + own(), own().replace(b";d", b";D"), own().replace(b";d=", b";d="),
    own().replace(b">", b"?h=1>"), own().replace(b";d", b";x=<;d"), own().replace(b">", b";d=2>"), own() + b">",
    own().replace(b"lr;", b'lr;x=";'), b"<sip:198.51.100.10:5060;lr>" + own()[own().find(b";d") :], own()[1:-1],
    own().replace(b"198", b"a@198"), own(b";r2=on;x"), b"<sip:198.51.100.10:5060;lr;d=>", b"<sip:example.org;lr>",
)  # fmt: skip


# Who we are


@pytest.mark.parametrize(
    ("uri", "is_us", "is_ours"),
    [
        (b"sip:x@198.51.100.10", True, True), (b"sip:198.51.100.10:5061", True, True),
        (b"sips:198.51.100.10", True, True), (b"sip:eXaMpLe.ORG:7777", True, True),
        (b"sip:198.51.100.10:5070", False, True), (b"sip:a@198.51.100.11", False, False),
        (b"sip:a@sub.example.org", False, False), (b"sip:a@notexample.org", False, False),
    ],
)  # fmt: skip
def test_we_are_our_names_and_our_addresses_and_an_aor_has_no_port(uri: bytes, is_us: bool, is_ours: bool) -> None:
    assert (router().is_us(parse_uri(uri)), router().is_ours(parse_uri(uri))) == (is_us, is_ours)


@pytest.mark.parametrize("method", [b"REGISTER", b"OPTIONS", b"INVITE"])
def test_what_is_for_the_proxy_itself_has_no_target(method: bytes) -> None:
    given = request(b"sip:example.org", method=method)
    assert router().targets(given, parse_uri(given.uri), False, NOW) is None


def test_a_register_is_for_us_even_when_its_uri_has_a_user() -> None:
    given = request(b"sip:a@example.org", method=b"REGISTER")
    assert router().targets(given, parse_uri(given.uri), False, NOW) is None


# By binding


def test_a_binding_leads_to_its_flow_with_the_phones_own_contact_as_request_uri() -> None:
    found = one(request(b"sip:a@example.org"), router(registered(b"sip:a@10.0.0.5;ob")))
    assert (found.flow, found.uri.encode(), found.natted) == (FLOW, b"sip:a@10.0.0.5;ob", True)
    assert found.binding == (b"a", 1)


def test_an_aor_is_found_whatever_its_escapes_its_password_and_our_name() -> None:
    by = router(registered(b"sip:a@10.0.0.5"))
    for uri in (b"sip:%61@example.org", b"sip:a:secret@198.51.100.10", b"sip:a@EXAMPLE.org;user=phone"):
        assert one(request(uri), by).flow == FLOW


def test_a_binding_of_a_public_phone_is_not_behind_a_nat() -> None:
    assert not one(request(b"sip:a@example.org"), router(registered(b"sip:a@198.51.100.20:40000", natted=False))).natted


def test_without_the_flow_remedy_a_binding_leads_to_its_contact() -> None:
    found = one(request(b"sip:a@example.org"), router(registered(b"sip:a@10.0.0.5"), flow=False))
    assert found.flow is None
    assert found.hop.address == ("10.0.0.5", 5060)


def test_phones_are_tried_by_their_q_and_of_one_q_the_newest_first() -> None:
    location = registered(b"sip:a@1.x q=500", b"sip:a@2.x", b"sip:a@3.x q=500", b"sip:a@4.x q=0", b"sip:a@5.x")
    found = targets(request(b"sip:a@example.org"), router(location))
    assert [(each.uri.host, each.q) for each in found] == [
        (b"5.x", 1000), (b"2.x", 1000), (b"3.x", 500), (b"1.x", 500), (b"4.x", 0),
    ]  # fmt: skip
    assert len(found) <= MAX_TARGETS


def test_a_user_who_never_registered_is_404_and_one_who_is_gone_480() -> None:
    location = registered(b"sip:a@1.x")
    with pytest.raises(SipError, match="404"):
        one(request(b"sip:nobody@example.org"), router(location))
    location.replace(b"a", [], NOW)
    with pytest.raises(SipError, match="480"):
        one(request(b"sip:a@example.org"), router(location))
    with pytest.raises(SipError, match="480"):
        one(request(b"sip:a@example.org"), router(registered(b"sip:a@1.x", expires_at=NOW)))


def test_a_gruu_names_one_phone_of_a_user() -> None:
    location = registered(b"sip:a@1.x gr=<" + URN + b">", b"sip:a@2.x gr=<urn:uuid:2>", b"sip:a@3.x")
    by = router(location)
    assert one(request(b"sip:a@example.org;gr=" + URN), by).uri.host == b"1.x"
    assert len(targets(request(b"sip:a@example.org"), by)) == 3
    with pytest.raises(SipError, match="480"):
        one(request(b"sip:a@example.org;gr=urn:uuid:3"), by)


def test_a_path_is_the_way_to_a_phone_and_its_first_uri_the_next_hop() -> None:
    path = b"path=<sip:edge.example.net;lr>,<sip:second;lr>"
    found = one(request(b"sip:a@example.org"), router(registered(b"sip:a@10.0.0.5 " + path)))
    assert found.flow is None
    assert found.uri.encode() == b"sip:a@10.0.0.5"
    assert found.hop.encode() == b"sip:edge.example.net;lr"
    assert found.routes == [b"<sip:edge.example.net;lr>", b"<sip:second;lr>"]


def test_several_flows_of_one_phone_are_one_target_at_a_time() -> None:
    """RFC 5626 §5.3: the newest first, the others for when it fails; without a reg-id an instance says nothing."""
    given = (1, 1, 1), (1, 1, 2), (2, 2, 1), (3, 3, 0), (4, 3, 0)
    phones = [b"sip:a@%d.x gr=<urn:uuid:%d> reg=%d" % each for each in given]
    found = targets(request(b"sip:a@example.org"), router(registered(*phones)))
    assert [each.uri.host for each in found] == [b"4.x", b"3.x", b"2.x", b"1.x"]
    assert [[spare.binding for spare in each.spares] for each in found] == [[], [], [], [(b"a", 1)]]
    assert found[3].binding == (b"a", 2)


# By the static table


def test_the_static_table_leads_to_the_phone_or_to_its_hole() -> None:
    table = {"b": MappedUser("198.51.100.7", 5070), "n": MappedUser("10.0.0.7", 5070, "198.51.100.8")}
    direct = one(request(b"sip:b@example.org"), router(mapping=table))
    assert (direct.flow, direct.uri.encode(), direct.natted) == (None, b"sip:b@198.51.100.7:5070", False)
    assert direct.hop == direct.uri
    hole = one(request(b"sip:n@example.org"), router(mapping=table))
    assert hole.flow == Flow("udp", HERE, ("198.51.100.8", 5070))
    assert (hole.uri.encode(), hole.natted) == (b"sip:n@10.0.0.7:5070", True)


def test_a_registered_phone_comes_before_the_static_table() -> None:
    by = router(registered(b"sip:a@10.0.0.5"), {"a": MappedUser("198.51.100.7", 5070)})
    assert one(request(b"sip:a@example.org"), by).flow == FLOW
    gone = router(registered(b"sip:a@10.0.0.5", expires_at=NOW), {"a": MappedUser("198.51.100.7", 5070)})
    assert one(request(b"sip:a@example.org"), gone).hop.address == ("198.51.100.7", 5070)


def test_a_mapped_phones_own_address_leads_to_its_hole() -> None:
    by = router(mapping={"n": MappedUser("10.0.0.7", 5070, "198.51.100.8", 7)})
    found = one(request(b"sip:n@10.0.0.7:5070"), by)
    assert found.flow == Flow("udp", HERE, ("198.51.100.8", 7))


# By address


def test_strangers_reach_phones_that_are_registered_or_mapped_and_nobody_else() -> None:
    by = router(registered(b"sip:a@10.0.0.5"), {"b": MappedUser("198.51.100.7", 5070)})
    for uri in (b"sip:x@198.51.100.20:40000", b"sip:x@198.51.100.7:5070"):
        assert one(request(uri), by).uri.encode() == uri
    for host in (b"10.0.0.5", b"10.0.0.6", b"198.51.100.20", b"198.51.100.7", b"host.example.net"):
        uri = b"sip:x@" + host
        with pytest.raises(SipError, match="403"):
            one(request(uri), by)
        assert one(request(uri), by, is_trusted=True).hop.encode() == uri


# Routes


def test_our_own_route_opens_the_way_to_the_next_and_only_for_its_call() -> None:
    given = request(b"sip:x@198.51.100.9", b"Route: " + own() + b", <sip:198.51.100.8;lr>")
    found = one(given)
    assert (found.hop.address, found.uri.encode()) == (("198.51.100.8", 5060), b"sip:x@198.51.100.9")
    assert given.values(b"route") == [b"<sip:198.51.100.8;lr>"]
    with pytest.raises(SipError, match="403 Forged Route"):
        one(request(b"sip:x@198.51.100.9", b"Route: " + own(call_id=b"other")))


def test_our_own_route_is_worth_nothing_when_its_day_is_over() -> None:
    assert one(request(b"sip:x@198.51.100.9", b"Route: " + own(now=NOW - TOKEN_LIFETIME_S)))
    with pytest.raises(SipError, match="403 Forged Route"):
        one(request(b"sip:x@198.51.100.9", b"Route: " + own(now=NOW - TOKEN_LIFETIME_S - 1000)))


def test_a_route_to_us_that_is_not_signed_is_consumed_and_opens_no_way() -> None:
    given = request(b"sip:x@198.51.100.9", b"Route: <sip:example.org;lr>")
    with pytest.raises(SipError, match="403 Not Our Domain"):
        one(given)
    assert given.count(b"route") == 0
    given = request(b"sip:a@example.org", b"Route: <sip:198.51.100.10;lr>")
    assert one(given, router(registered(b"sip:a@1.x"))).flow == FLOW


def test_both_of_a_double_record_route_are_consumed_together() -> None:
    lines = b"Route: " + own(b";r2=on", address=TLS) + b", " + own(b";r2=on"), b"Route: <sip:198.51.100.8;lr>"
    given = request(b"sip:x@198.51.100.9", *lines)
    assert one(given).hop.address == ("198.51.100.8", 5060)
    assert given.values(b"route") == [b"<sip:198.51.100.8;lr>"]


@pytest.mark.parametrize("value", WRITTEN + UNUSUAL)
def test_a_route_as_we_write_it_is_read_as_any_other(value: bytes) -> None:
    def read(by: Router) -> object:
        given = request(b"sip:x@198.51.100.9", b"Route: " + value, b"Route: <sip:198.51.100.8;lr>")
        try:
            known = by.preprocess(given, parse_uri(given.uri), SENDER, NOW)[1]
        except SipError as error:
            return str(error)
        return known, given.values(b"route")

    usual, general = router(), router()
    general._written = re.compile(rb"(?!)")
    assert read(usual) == read(general)
    assert (usual._written.fullmatch(value) is not None) == (value in WRITTEN)


def test_a_route_of_ours_below_a_strangers_stays() -> None:
    given = request(b"sip:x@198.51.100.9", b"Route: <sip:198.51.100.8;lr>", b"Route: " + own())
    assert one(given, is_trusted=True).hop.address == ("198.51.100.8", 5060)
    assert len(given.values(b"route")) == 2


def test_a_strangers_routes_are_removed() -> None:
    given = request(b"sip:a@example.org", b"Route: <sip:198.51.100.8;lr>", b"Route: <sip:198.51.100.7;lr>")
    assert one(given, router(registered(b"sip:a@1.x"))).flow == FLOW
    assert given.count(b"route") == 0


def test_who_may_send_through_us_may_name_the_way() -> None:
    given = request(b"sip:x@198.51.100.9", b"Route: <sip:198.51.100.8;lr>")
    found = one(given, is_trusted=True)
    assert (found.hop.address, found.uri.encode()) == (("198.51.100.8", 5060), b"sip:x@198.51.100.9")
    assert given.values(b"route") == [b"<sip:198.51.100.8;lr>"]


def test_a_strict_next_hop_becomes_the_request_uri() -> None:
    given = request(b"sip:x@198.51.100.9", b"Route: " + own(), b"Route: <sip:198.51.100.8>, <sip:z;lr>")
    found = one(given)
    assert found.uri.encode() == found.hop.encode() == b"sip:198.51.100.8"
    assert given.values(b"route") == [b"<sip:z;lr>", b"<sip:x@198.51.100.9>"]


def test_a_strict_previous_hop_is_repaired() -> None:
    given = request(own()[1:-1], b"Route: <sip:198.51.100.8;lr>", b"Route: <sip:x@198.51.100.9>")
    found = one(given)
    assert (found.hop.address, found.uri.encode()) == (("198.51.100.8", 5060), b"sip:x@198.51.100.9")
    assert given.values(b"route") == [b"<sip:198.51.100.8;lr>"]


@pytest.mark.parametrize(
    ("line", "status"),
    [(b"Route: <sip:a@>", "400"), (b"Route: <tel:1>", "416"), (b"Route: <sip:198.51.100.10;lr>, <sip:", "400")],
)
def test_an_unreadable_route_is_refused(line: bytes, status: str) -> None:
    with pytest.raises(SipError, match=status):
        one(request(b"sip:a@example.org", line), is_trusted=True)


def test_a_route_line_of_commas_alone_is_no_route() -> None:
    given = request(b"sip:a@example.org", b"Route: ,")
    assert one(given, router(registered(b"sip:a@1.x"))).flow == FLOW


# Max-Forwards


@pytest.mark.parametrize(
    ("line", "after"),
    [(b"Max-Forwards: 70", b"69"), (b"Max-Forwards: 1", b"0"), (b"X: y", b"70"), (b"max-forwards:\r\n 255", b"254")],
)
def test_a_hop_is_counted(line: bytes, after: bytes) -> None:
    given = request(b"sip:x", line)
    decrement_max_forwards(given)
    assert given.header(b"max-forwards") == after
    assert given.count(b"max-forwards") == 1
