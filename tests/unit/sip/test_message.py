"""Lines that are edited in place (RFC 3261 §7): what nobody edited leaves as it came."""

from __future__ import annotations

from collections.abc import Callable

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
    request.uri = b"sip:new"
    assert request.encode() == HEAD.replace(b"sip:b@x SIP", b"sip:new SIP") + b"\r\n\r\n"


def test_an_answer_copies_the_lines_that_it_must_as_they_are() -> None:
    request = parse(HEAD + b"\r\n\r\nbody")
    assert isinstance(request, Request)
    made = answer(request, 404, b"Not Found", ((b"X", b"y"),), b"tag")
    assert made.header(b"subject") is made.header(b"route") is None
    assert made.encode() == (
        b"SIP/2.0 404 Not Found\r\nv: A , B\r\nVIA:C\r\n\tD\r\nf: <sip:a@x>;tag=1\r\nt: <sip:b@x>;tag=tag\r\ni: c\r\n"
        b"CSeq: 1 INVITE\r\nX: y\r\nContent-Length: 0\r\n\r\n"
    )


def test_a_copy_is_edited_without_its_original() -> None:
    original = parse(HEAD + b"\r\n\r\nbody")
    assert isinstance(original, Request)
    copy = original.copy()
    assert copy.encode() == original.encode()
    copy.uri = b"sip:new"
    copy.push(b"Via", b"Z")
    copy.set(b"Subject", b"new")
    copy.replace_values(b"Route", [])
    assert original.encode() == HEAD + b"\r\n\r\nbody"
    assert original.values(b"via") == [b"A", b"B", b"C D"]
    assert copy.method == b"INVITE"


def test_a_removed_line_takes_its_values_with_it() -> None:
    edited = message()
    assert edited.values(b"via") == [b"A", b"B", b"C D"]
    edited.remove_line(0)
    assert edited.values(b"via") == [b"C D"]
    assert edited.keys[0] == b"via"


def test_values_are_read_anew_after_every_kind_of_edit() -> None:
    edited = message()
    edits: list[tuple[Callable[[], None], list[bytes]]] = [
        (lambda: edited.push(b"Route", b"<sip:new>"), [b"<sip:new>", b"<sip:p>"]),
        (lambda: edited.replace_top(b"Route", b"<sip:q>"), [b"<sip:q>", b"<sip:p>"]),
        (lambda: edited.pop_top(b"Route"), [b"<sip:p>"]),
        (lambda: edited.set(b"Route", b"<sip:r>, <sip:s>"), [b"<sip:r>", b"<sip:s>"]),
        (lambda: edited.replace_values(b"Route", [b"<sip:t>"]), [b"<sip:t>"]),
    ]
    for edit, wanted in edits:
        assert edited.values(b"route") != wanted
        edit()
        assert edited.values(b"route") == wanted
        assert edited.top(b"route") == wanted[0]


def trying(*lines: bytes) -> bytes:
    request = parse(b"\r\n".join((HEAD, *lines, b"", b"")))
    assert isinstance(request, Request)
    return answer(request, 100, b"Trying", (), None).encode()


def test_a_100_has_no_tag_of_ours_but_the_timestamp_of_its_request() -> None:
    assert b"\r\nTimestamp: 54\r\n" in trying(b"Timestamp: 54")
    assert b"\r\nt: <sip:b@x>\r\n" in trying()


def test_another_answer_has_no_timestamp_and_a_tag_that_is_there_stays() -> None:
    head = HEAD.replace(b"t: <sip:b@x>", b'To: "x;tag=y" <sip:b@x;tag=uri> ; TAG = theirs')
    request = parse(head + b"\r\nTimestamp: 54\r\n\r\n")
    assert isinstance(request, Request)
    made = answer(request, 480, b"x", (), b"ours")
    assert made.header(b"to") == b'"x;tag=y" <sip:b@x;tag=uri> ; TAG = theirs'
    assert made.count(b"timestamp") == 0


def test_a_tag_within_the_uri_is_not_the_tos() -> None:
    for line, made in (
        (b"To: <sip:b@x;tag=uri>", b"<sip:b@x;tag=uri>;tag=ours"), (b"To: sip:b@x;tag=1", b"sip:b@x;tag=1"),
    ):  # fmt: skip
        request = parse(HEAD.replace(b"t: <sip:b@x>", line) + b"\r\n\r\n")
        assert isinstance(request, Request)
        assert answer(request, 480, b"x", (), b"ours").header(b"to") == made
