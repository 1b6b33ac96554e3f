"""The torture messages of RFC 4475 and RFC 5118: what the parser and the checks of RFC 3261 §16.3 make of each.

The messages and what the RFCs want done with them are data, in tests/data/torture; its README says where they are from.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import pytest

from proxy.core.validate import check_head, validate
from proxy.sip import framing, grammar
from proxy.sip.errors import NotSip, SipError
from proxy.sip.headers import NameAddr, parse_any_via, parse_cseq, parse_name_addr, parse_via
from proxy.sip.message import Message, Request, Response
from proxy.sip.parse import parse
from proxy.sip.uri import parse_uri, scheme_of

TORTURE = Path(__file__).resolve().parents[2] / "data" / "torture"
CASES: list[dict[str, Any]] = tomllib.loads((TORTURE / "outcomes.toml").read_text())["message"]
SAYS: dict[str, dict[str, Any]] = tomllib.loads((TORTURE / "says.toml").read_text())


def params(cases: list[dict[str, Any]]) -> list[Any]:
    """Return the cases under their files' names."""
    return [pytest.param(case, id=case["file"]) for case in cases]


def read(name: str) -> bytes:
    """Return a message's bytes, e.g. of "rfc4475/wsinv"."""
    return (TORTURE / f"{name}.dat").read_bytes()


def request(name: str) -> Request:
    message = parse(read(name))
    assert isinstance(message, Request)
    return message


def response(name: str) -> Response:
    message = parse(read(name))
    assert isinstance(message, Response)
    return message


def address(message: Message, key: bytes) -> NameAddr:
    return parse_name_addr(message.header(key) or b"")


def refusal(data: bytes) -> int | None:
    """Return the status with which a message is refused before anything is looked up; None when it is not."""
    message = parse(data)
    try:
        if isinstance(message, Request):
            validate(message)
        else:
            check_head(message)
    except SipError as error:
        return error.status
    return None


# The data


def test_the_messages_are_the_octets_that_were_verified() -> None:
    sums = {}
    for line in (TORTURE / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        sums[name] = digest
    found = {path.relative_to(TORTURE).as_posix(): path.read_bytes() for path in TORTURE.glob("rfc*/*.dat")}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} == sums
    assert len(sums) == 49 + 12


def test_every_message_has_one_outcome() -> None:
    names = [case["file"] for case in CASES]
    assert sorted(names) == sorted(path.relative_to(TORTURE).as_posix() for path in TORTURE.glob("rfc*/*.dat"))
    for case in CASES:
        assert case.keys() - {"length"} == {"file", "section", "what", "sound", "by", "outcome", "status", "why"}
        assert case["by"] in {"proxy", "registrar"}
        assert case["outcome"] in {"forwarded", "answered", "dropped", "any"}
        assert bool(case["status"]) == (case["outcome"] in {"answered", "any"}), case["file"]


# All of them


@pytest.mark.parametrize("case", params([case for case in CASES if case["sound"]]))
def test_a_sound_message_is_read_without_fault_and_leaves_as_it_came(case: dict[str, Any]) -> None:
    data = (TORTURE / case["file"]).read_bytes()
    message = parse(data)
    assert message.defect is None
    assert message.encode() == data
    assert all(parse_via(value).host for value in message.values(b"via"))
    for key in (b"from", b"to", b"contact", b"route", b"record-route"):
        assert all(scheme_of(parse_name_addr(value).uri) for value in message.values(key))
    number, method = parse_cseq(message.header(b"cseq") or b"")
    assert number > 0
    if isinstance(message, Request):
        assert method == message.method


@pytest.mark.parametrize("case", params(CASES))
def test_what_the_checks_say_is_what_the_rfc_allows(case: dict[str, Any]) -> None:
    data = (TORTURE / case["file"]).read_bytes()
    if case["outcome"] == "dropped":
        try:
            assert (refusal(data) is None) == case["sound"]  # what is sound is dropped for what it says, later
        except NotSip:
            assert not case["sound"]
        return
    status = refusal(data)
    if status is None:
        assert case["by"] == "registrar" or case["outcome"] in {"forwarded", "any"}
    else:
        assert status in case["status"]
        assert not (case["sound"] and case["by"] == "registrar")


@pytest.mark.parametrize("name", SAYS)
def test_a_request_says_what_the_rfc_prints(name: str) -> None:
    message, says = request(name), SAYS[name]
    framing.cut_body(message)
    vias = message.values(b"via")
    assert (message.method, message.uri) == (says["method"].encode(), says["uri"].encode())
    assert (len(vias), len(message.body)) == (says["vias"], says["body"])
    assert parse_cseq(message.header(b"cseq") or b"") == (says["cseq"], message.method)
    assert parse_via(vias[0]).param(b"branch") == (says["branch"].encode() if "branch" in says else None)
    assert address(message, b"from").param(b"tag") == (says["tag"].encode() if "tag" in says else None)


# One by one, in the order of the RFCs


def test_wsinv_reads_through_all_its_white_space() -> None:
    message = request("rfc4475/wsinv")
    vias = [parse_via(value) for value in message.values(b"via")]
    assert [(via.transport, via.sent_by, via.param(b"branch")) for via in vias] == [
        (b"UDP", ("192.0.2.2", 5060), b"390skdjuw"),
        (b"TCP", ("spindle.example.com", 5060), b"z9hG4bK9ikj8"),
        (b"UDP", ("192.168.255.111", 5060), b"z9hG4bK30239"),
    ]
    assert address(message, b"from").before == b'"J Rosenberg \\\\\\""       <'
    assert address(message, b"from").uri == b"sip:jdrosen@example.com"
    to = address(message, b"to")
    assert (to.uri, to.param(b"tag")) == (b"sip:vivekg@chair-dnrc.example.com", b"1918181833n")
    assert grammar.decimal(message.header(b"max-forwards") or b"", 255) == 68
    assert message.header(b"subject") == b""
    assert message.header(b"newfangledheader") == b"newfangled value continued newfangled value"
    assert message.header(b"unknownheaderwithunusualvalue") == b";;,,;;,;"
    route = address(message, b"route").parsed()
    assert (route.param(b"lr"), route.param(b"unknownwith"), route.param(b"unknown-no-value")) == (b"", b"value", b"")
    contact = address(message, b"contact")
    assert contact.before == b'"Quoted string \\"\\"" <'
    assert [contact.param(name) for name in (b"newparam", b"secondparam", b"q")] == [b"newvalue", b"", b"0.33"]


def test_intmeth_keeps_every_character_in_its_place() -> None:
    message = request("rfc4475/intmeth")
    uri = parse_uri(message.uri)
    assert uri.host == b"example.com"
    assert uri.user == message.uri.removeprefix(b"sip:").removesuffix(b"@example.com")
    to, sender = address(message, b"to"), address(message, b"from")
    assert to.before == b'"BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <'
    assert to.uri == b"sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com"
    assert sender.before == b"token1~` token2'+_ token3*%!.- <"
    assert sender.param(b"fromparam''~+*_!.-%") == '"работающий"'.encode()
    assert message.header(b"call-id") == b"intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    assert message.header(b"extensionheader-!.%*+_`'~") == "\ufeff大停電".encode()


def test_escapes_are_carried_not_decoded() -> None:
    message = request("rfc4475/esc01")
    assert parse_uri(message.uri).user == b"sips%3Auser%40example.com"
    assert address(message, b"to").parsed().user == b"%75se%72"
    assert address(message, b"from").parsed().user == b"I%20have%20spaces"
    contact = address(message, b"contact").parsed()
    assert (contact.user, contact.params) == (b"cal%6Cer", b";%6C%72;n%61me=v%61lue%25%34%31")


def test_an_escaped_nul_does_not_end_a_user_and_tells_two_contacts_apart() -> None:
    message = request("rfc4475/escnull")
    assert address(message, b"to").parsed().user == b"null-%00-null"
    contacts = [parse_name_addr(value).parsed().user for value in message.values(b"contact")]
    assert contacts == [b"%00", b"%00%00"]


def test_a_percent_sign_in_a_token_is_a_percent_sign() -> None:
    message = request("rfc4475/esc02")
    assert message.method != b"REGISTER"
    assert address(message, b"to").before == b'"%Z%45" <'
    assert message.values(b"contact") == [b"<sip:alias1@host1.example.com>", b"<sip:alias3@host3.example.com>"]
    assert message.header(b"c%6fntact") == b"<sip:alias2@host2.example.com>"


def test_a_display_name_may_touch_its_bracket() -> None:
    sender = address(request("rfc4475/lwsdisp"), b"from")
    assert (sender.before, sender.uri) == (b"caller<", b"sip:caller@example.com")


def test_long_values_are_read_to_their_ends() -> None:
    message = request("rfc4475/longreq")
    vias = [parse_via(value) for value in message.values(b"via")]
    assert [via.host for via in vias[:-1]] == [b"sip%d.example.com" % number for number in range(33, 0, -1)]
    assert vias[-1].param(b"received") == b"192.0.2.5"
    assert vias[-1].param(b"branch") == b"very" + b"long" * 50 + b"branchvalue"
    to = address(message, b"to")
    assert to.before == b'"I have a user name of ' + b"extreme" * 10 + b' proportion"<'
    assert to.parsed().port == 6000
    assert to.parsed().param(b"longparam" + b"name" * 25) == b"shortvalue"
    assert to.parsed().param(b"very" + b"long" * 25 + b"parameternamewithnovalue") == b""
    assert address(message, b"from").parsed().user == b"amazinglylongcallername" * 5
    assert message.header(b"call-id") == b"longreq.one" + b"really" * 20 + b"longcallid"


def test_what_follows_the_body_in_a_datagram_is_no_part_of_the_message() -> None:
    message, data = request("rfc4475/dblreq"), read("rfc4475/dblreq")
    framing.cut_body(message)
    assert message.encode() == data[: data.index(b"\r\n\r\n") + 4]
    assert data[len(message.encode()) :].startswith(b"\r\nINVITE sip:joe@example.com SIP/2.0\r\n")
    assert message.header(b"call-id") == b"dblreq.0ha0isndaksdj99sdfafnl3lk233412"


def test_a_semicolon_in_a_user_part_begins_no_parameter() -> None:
    uri = parse_uri(request("rfc4475/semiuri").uri)
    assert (uri.user, uri.host, uri.params) == (b"user;par=u%40example.net", b"example.com", b"")
    assert len(request("rfc4475/semiuri").values(b"accept")) == 6


def test_a_transport_may_be_any_token() -> None:
    vias = [parse_via(value) for value in request("rfc4475/transports").values(b"via")]
    assert [via.transport for via in vias] == [b"UDP", b"SCTP", b"TLS", b"UNKNOWN", b"TCP"]


def test_a_binary_body_is_framed_by_its_length() -> None:
    message = request("rfc4475/mpart01")
    assert message.header(b"content-length") == b"553"
    assert message.body.startswith(b"--7a9cbec02ceef655\r\nContent-Type: text/plain\r\n")
    assert message.body.endswith(bytes.fromhex("944FE57B65BC99D005") + b"\r\n--7a9cbec02ceef655--\r\n")
    assert message.body.count(bytes.fromhex("3082015206092A864886F70D010702A0")) == 1
    assert message.body.count(b"\0") == 2
    assert parse_via(message.top(b"via") or b"").param(b"rport") == b""


def test_a_reason_phrase_may_be_anything_or_nothing() -> None:
    unusual, empty = response("rfc4475/unreason"), response("rfc4475/noreason")
    assert (unusual.status, len(unusual.body)) == (200, 154)
    assert unusual.start.decode() == "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое"
    assert (empty.status, empty.start, empty.body) == (100, b"SIP/2.0 100 ", b"")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("clerr", "400 Body Shorter Than Content-Length"),
        ("ncl", "400 Bad Content-Length"),
        ("mcl01", "400 Bad Content-Length"),
        ("scalar02", "400 Bad CSeq"),
        ("quotbal", "400 Bad Address"),
        ("ltgtruri", "400 Bad URI"),
        ("lwsruri", "400 Bad Request-Line"),
        ("lwsstart", "400 Bad Request-Line"),
        ("badvers", "505"),
        ("mismatch01", "400 CSeq Method Differs"),
        ("insuf", "400 Not Exactly One"),
        ("multi01", "400 Not Exactly One"),
        ("unkscm", "416"),
        ("novelsc", "416"),
        ("zeromf", "483"),
    ],
)
def test_a_request_is_refused_for_the_fault_that_its_section_is_about(name: str, why: str) -> None:
    with pytest.raises(SipError, match=why):
        validate(request(f"rfc4475/{name}"))


def test_an_unsound_response_is_none() -> None:
    with pytest.raises(NotSip):
        parse(read("rfc4475/bigcode"))
    with pytest.raises(SipError, match="400 Bad CSeq"):
        check_head(response("rfc4475/scalarlg"))


def test_a_separator_with_nothing_behind_it_makes_a_bad_via_that_still_says_where_the_400_goes() -> None:
    message = request("rfc4475/badinv01")
    assert parse_via(message.top(b"via") or b"").sent_by == ("192.0.2.15", 5060)
    with pytest.raises(SipError, match="400 Bad Via"):
        validate(message)


def test_an_escaped_header_in_the_request_uri_goes_no_further() -> None:
    assert validate(request("rfc4475/escruri")).encode() == b"sip:user@example.com"


def test_an_address_in_brackets_may_have_spaces_around_it() -> None:
    assert address(request("rfc4475/badaspec"), b"to").uri == b"sip:t.watson@example.org"


def test_an_unquoted_display_name_is_made_of_tokens() -> None:
    message = parse(read("rfc4475/baddn") + b"\r\n")  # the archived octets lack the empty line
    assert message.defect is None
    with pytest.raises(SipError, match="400 Bad Address"):
        parse_name_addr(message.header(b"from") or b"")


def test_a_via_of_another_version_still_says_where_the_505_goes() -> None:
    top = request("rfc4475/badvers").top(b"via") or b""
    with pytest.raises(SipError, match="400 Bad Via"):
        parse_via(top)
    via = parse_any_via(top)
    assert (via.transport, via.sent_by) == (b"UDP", ("c.example.com", 5060))


def test_the_extensions_that_a_proxy_cannot_do_are_named() -> None:
    with pytest.raises(SipError) as caught:
        validate(request("rfc4475/bext01"))
    assert caught.value.status == 420
    assert caught.value.headers == ((b"Unsupported", b"noProxiesSupportThis, norDoAnyProxiesSupportThis"),)


def test_an_address_of_record_of_another_scheme_is_read_and_is_no_sip_uri() -> None:
    message = request("rfc4475/unksm2")
    assert [scheme_of(address(message, key).uri) for key in (b"to", b"from", b"contact")] == [b"isbn", b"http", b"name"]
    with pytest.raises(SipError):
        address(message, b"to").parsed()


def test_the_second_via_of_bcast_is_the_broadcast_address() -> None:
    vias = [parse_via(value).sent_by for value in response("rfc4475/bcast").values(b"via")]
    assert vias == [("192.0.2.198", 5060), ("255.255.255.255", 5060)]


def test_brackets_decide_whose_a_parameter_is() -> None:
    plain, bracketed = (address(request(f"rfc4475/cparam0{number}"), b"contact") for number in (1, 2))
    assert (plain.param(b"unknownparam"), plain.parsed().param(b"unknownparam")) == (b"", None)
    assert (bracketed.param(b"unknownparam"), bracketed.parsed().param(b"unknownparam")) == (None, b"")


@pytest.mark.parametrize("name", ["regescrt", "regbadct"])
def test_an_escaped_header_belongs_to_the_contact(name: str) -> None:
    assert address(request(f"rfc4475/{name}"), b"contact").parsed().headers == b"?Route=%3Csip:sip.example.com%3E"


def test_a_request_of_rfc_2543_is_read() -> None:
    message = request("rfc4475/inv2543")
    assert not message.count(b"content-length")
    assert not message.count(b"max-forwards")
    assert address(message, b"to").param(b"user") == b"phone"
    assert address(message, b"record-route").parsed().param(b"maddr") == b"ss1.example.com"
    assert validate(message).user == b"UserB"


@pytest.mark.parametrize(
    ("name", "host", "port"),
    [
        ("ipv6-good", "2001:db8::10", None),
        ("port-ambiguous", "2001:db8::10:5070", None),
        ("port-unambiguous", "2001:db8::10", 5070),
        ("ipv6-bug-abnf-3-colons", "2001:db8::c000:201", None),
        ("ipv6-correct-abnf-2-colons", "2001:db8::c000:201", None),
    ],
)
def test_an_ipv6_reference_ends_at_its_bracket(name: str, host: str, port: int | None) -> None:
    uri = parse_uri(request(f"rfc5118/{name}").uri)
    assert (uri.address, uri.port) == ((host, port or 5060), port)


def test_received_is_read_with_and_without_brackets() -> None:
    for end, received in (("with", b"[2001:db8::9:255]"), ("no", b"2001:db8::9:255")):
        via = parse_via(request(f"rfc5118/via-received-param-{end}-delim").top(b"via") or b"")
        assert (via.sent_by, via.param(b"received")) == (("2001:db8::9:1", 5060), received)


def test_vias_of_both_families_stand_side_by_side() -> None:
    mixed = [parse_via(value) for value in request("rfc5118/mult-ip-in-header").values(b"via")]
    assert [via.sent_by for via in mixed] == [("2001:db8::9:1", 6050), ("192.0.2.1", 5060), ("2001:db8::9:255", 5060)]
    assert mixed[2].param(b"received") == b"192.0.2.200"
    mapped = request("rfc5118/ipv4-mapped-ipv6")
    assert [parse_via(value).sent_by for value in mapped.values(b"via")] == [
        ("::ffff:c000:20a", 19823), ("::ffff:c000:202", 5060),
    ]  # fmt: skip
    assert address(mapped, b"contact").parsed().host == b"[::ffff:192.0.2.2]"


@pytest.mark.parametrize("case", params([case for case in CASES if "length" in case]))
def test_with_the_right_length_a_message_is_sound_and_whole(case: dict[str, Any]) -> None:
    message = parse((TORTURE / case["file"]).read_bytes())
    assert isinstance(message, Request)
    assert message.header(b"content-length") != b"%d" % case["length"]
    message.set(b"Content-Length", b"%d" % case["length"])
    validate(message)
    assert len(message.body) == case["length"]
    assert message.body.endswith(b"a=rtpmap:107 H263-1998/90000\r\n")
