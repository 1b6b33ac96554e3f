"""Lines that are edited in place (RFC 3261 §7): what nobody edited leaves as it came."""

from __future__ import annotations

from proxy.sip.message import Message, Request, answer
from proxy.sip.parse import parse

HEAD = (
    b"INVITE sip:b@x SIP/2.0\r\nv: A , B\r\nVIA:C\r\n\tD\r\nSubject:  odd  \r\nRoute: <sip:p>\r\n"
    b"f: <sip:a@x>;tag=1\r\nt: <sip:b@x>\r\ni: c\r\nCSeq: 1 INVITE"
)


def message() -> Message:
    return parse(HEAD + b"\r\n\r\nbody")


def lines(edited: Message) -> list[bytes]:
    return [line for line, key in zip(edited.lines, edited.keys, strict=True) if key in {b"via", b"route"}]


def test_values_come_from_all_lines_and_all_spellings_of_a_header() -> None:
    assert message().values(b"via") == [b"A", b"B", b"C D"]
    assert message().top(b"via") == b"A"
    assert message().top(b"contact") is None
    assert message().header(b"subject") == b"odd"
    assert message().header(b"expires") is None
    assert message().count(b"via") == 2


def test_replacing_the_first_value_keeps_the_others_of_its_line() -> None:
    edited = message()
    edited.replace_top(b"Via", b"Z")
    assert lines(edited) == [b"Via: Z, B", b"VIA:C\r\n\tD", b"Route: <sip:p>"]
    assert edited.values(b"via") == [b"Z", b"B", b"C D"]


def test_removing_the_first_value_removes_its_line_only_when_it_is_empty() -> None:
    edited = message()
    edited.pop_top(b"Via")
    assert lines(edited)[0] == b"Via: B"
    edited.pop_top(b"Via")
    assert lines(edited) == [b"VIA:C\r\n\tD", b"Route: <sip:p>"]


def test_a_line_without_values_is_not_taken_for_the_first_value() -> None:
    edited = parse(HEAD.replace(b"v: A , B", b"v: , ,") + b"\r\n\r\n")
    edited.replace_top(b"Via", b"Z")
    assert edited.values(b"via") == [b"Z"]


def test_a_pushed_value_stands_above_all_others_in_a_line_of_its_own() -> None:
    edited = message()
    edited.push(b"Via", b"Z")
    assert edited.lines[0] == b"Via: Z"
    assert edited.values(b"via") == [b"Z", b"A", b"B", b"C D"]


def test_a_pushed_record_route_stands_below_the_vias() -> None:
    edited = message()
    edited.push(b"Record-Route", b"<sip:us>")
    assert edited.keys[:3] == [b"via", b"via", b"record-route"]


def test_setting_replaces_or_appends() -> None:
    edited = message()
    edited.set(b"Subject", b"new")
    edited.set(b"Expires", b"1")
    assert edited.header(b"subject") == b"new"
    assert edited.lines[-1] == b"Expires: 1"


def test_replaced_values_stand_where_the_first_stood() -> None:
    edited = message()
    edited.replace_values(b"Via", [b"X", b"Y"])
    assert lines(edited) == [b"Via: X", b"Via: Y", b"Route: <sip:p>"]
    edited.replace_values(b"Route", [])
    assert edited.count(b"route") == 0
    edited.replace_values(b"Route", [b"<sip:q>"])
    assert edited.lines[-1] == b"Route: <sip:q>"


def test_an_edit_leaves_every_other_byte() -> None:
    edited = message()
    edited.set(b"Max-Forwards", b"69")
    assert edited.encode() == HEAD + b"\r\nMax-Forwards: 69\r\n\r\nbody"


def test_another_request_uri_changes_the_start_line_alone() -> None:
    request = parse(HEAD + b"\r\n\r\n")
    assert isinstance(request, Request)
    request.set_uri(b"sip:new")
    assert request.encode() == HEAD.replace(b"sip:b@x SIP", b"sip:new SIP") + b"\r\n\r\n"


def test_an_answer_copies_the_lines_that_it_must_as_they_are() -> None:
    request = parse(HEAD + b"\r\n\r\nbody")
    assert isinstance(request, Request)
    made = answer(request, 404, b"Not Found", ((b"X", b"y"),), b"tag")
    assert made.encode() == (
        b"SIP/2.0 404 Not Found\r\nv: A , B\r\nVIA:C\r\n\tD\r\nf: <sip:a@x>;tag=1\r\nt: <sip:b@x>;tag=tag\r\ni: c\r\n"
        b"CSeq: 1 INVITE\r\nX: y\r\nContent-Length: 0\r\n\r\n"
    )
