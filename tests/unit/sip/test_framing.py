"""Where a message ends (RFC 3261 §18.3), and what is none (RFC 5626 §3.5)."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sip.errors import SipError
from proxy.sip.framing import MAX_START_LINE, PING, StreamError, StreamReader, cut_body, is_keep_alive
from proxy.sip.parse import parse


def body(lines: bytes, found: bytes) -> bytes:
    message = parse(b"X sip:a SIP/2.0\r\n" + lines + b"\r\n" + found)
    cut_body(message)
    return message.body


@pytest.mark.parametrize("line", [b"Content-Length: 3\r\n", b"l:3\r\n", b"CONTENT-LENGTH :\r\n 003\r\n"])
def test_what_follows_the_body_is_cut(line: bytes) -> None:
    assert body(line, b"abcdef") == b"abc"


def test_without_content_length_the_datagram_is_the_body() -> None:
    assert body(b"", b"abc\0\r\n") == b"abc\0\r\n"


def test_the_same_length_twice_is_one() -> None:
    assert body(b"l: 3\r\nContent-Length: 3\r\n", b"abcd") == b"abc"


@pytest.mark.parametrize("length", [b" 4", b" -1", b" x", b" 1\r\nl: 2", b" 1, 2", b" 99999999999", b""])
def test_a_length_that_is_false_is_400(length: bytes) -> None:
    with pytest.raises(SipError, match="400"):
        body(b"l:" + length + b"\r\n", b"abc")


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0\0", b"\r\n\r\n", b"\x00\x01\x00\x08\x21\x12\xa4\x42rest"])
def test_keep_alives_are_known(data: bytes) -> None:
    assert is_keep_alive(data)


@pytest.mark.parametrize("data", [b"\r\nX", b"\0\1\0\x08\x21\x12\xa4\x43", b"\x40\1\0\x08\x21\x12\xa4\x42", b"\1"])
def test_other_bytes_are_none(data: bytes) -> None:
    assert not is_keep_alive(data)


# Streams

START = b"X sip:a SIP/2.0\r\n"
EMPTY = START + b"l: 0\r\n\r\n"
BODY = START + b"Content-Length: 7\r\nVia: x\r\n\r\na\r\n\r\n\0b"


def reader() -> StreamReader:
    return StreamReader(200, 300)


def refusal(data: bytes) -> StreamError:
    with pytest.raises(StreamError) as caught:
        reader().feed(data)
    return caught.value


def read(*segments: bytes) -> tuple[list[bytes], str | None, bytes | None]:
    """Return all items of a stream, and the reason and the head of the error that ends it."""
    items: list[bytes] = []
    stream = reader()
    for segment in segments:
        try:
            items += stream.feed(segment)
        except StreamError as error:
            return items + error.before, error.reason, error.head
    return items, None, None


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length: 3", b"l:3", b"L \t: 3 ", b"CONTENT-length:\r\n\t3", b"l: 003", b"l: 3\r\nContent-Length: 3",
        b"l: 3, 3", b"l: 3,\r\n 3",
    ],
)  # fmt: skip
def test_content_length_says_where_a_message_of_a_stream_ends(line: bytes) -> None:
    message = START + line + b"\r\nVia: x\r\n\r\nabc"
    assert reader().feed(message + EMPTY) == [message, EMPTY]


def test_two_messages_in_one_segment_and_the_begin_of_a_third() -> None:
    stream = reader()
    assert stream.feed(BODY + EMPTY + BODY[:-1]) == [BODY, EMPTY]
    assert stream.is_within
    assert stream.feed(BODY[-1:]) == [BODY]
    assert not stream.is_within


def test_one_message_over_three_segments() -> None:
    stream = reader()
    assert stream.feed(BODY[:20]) == stream.feed(BODY[20:-3]) == []
    assert stream.feed(BODY[-3:]) == [BODY]


def test_what_looks_like_content_length_but_is_none_is_not_read() -> None:
    message = START + b"X-l: 9\r\nVia: x\r\n l: 9\r\nSubject: l: 9\r\nl: 1\r\n\r\nb"
    assert reader().feed(message) == [message]


def test_crlf_before_a_message_is_skipped() -> None:
    assert reader().feed(b"\r\n" + EMPTY + b"\r\n" + BODY) == [EMPTY, BODY]


def test_a_double_crlf_between_messages_is_a_ping() -> None:
    assert reader().feed(PING + EMPTY + PING + PING + b"\r\n" + BODY) == [PING, EMPTY, PING, PING, BODY]


def test_a_single_crlf_is_none_and_a_message_parts_two() -> None:
    stream = reader()
    assert stream.feed(b"\r\n") == []
    assert stream.feed(EMPTY + b"\r\n") == [EMPTY]
    assert stream.feed(b"\r") == []
    assert stream.feed(b"\n") == [PING]
    assert not stream.is_within


@pytest.mark.parametrize("lines", [b"l: ,\r\n", b"Via: x\r\n", b"", b"X: l\r\n", b"l : 3 ;\r\nl\r\n"])
def test_without_content_length_the_head_is_handed_along(lines: bytes) -> None:
    error = refusal(START + lines + b"\r\nabc")
    assert error.head == START + lines + b"\r\n"


def test_a_stream_needs_content_length() -> None:
    assert refusal(START + b"Via: x\r\n\r\n").reason == "no Content-Length"


@pytest.mark.parametrize(
    "value", [b"-1", b"+1", b"x", b"1 2", b"1;a", b"1, 2", b"1\r\nl: 2", b"99999999999", b"1_0", b"1\r2", b""]
)
def test_a_stream_ends_with_a_length_that_is_false(value: bytes) -> None:
    error = refusal(START + b"l: " + value + b"\r\n\r\n")
    assert (error.reason, error.head) == ("bad Content-Length", START + b"l: " + value + b"\r\n\r\n")




def test_the_largest_message_is_let_through_and_one_byte_more_is_not() -> None:
    message = START + b"l: 273\r\n\r\n" + bytes(273)
    assert len(message) == 300
    assert reader().feed(message) == [message]
    head = START + b"l: 274\r\n\r\n"
    error = refusal(head)
    assert (error.reason, error.head) == ("message of more than 300 bytes", head)


def test_the_largest_head_is_let_through_and_one_byte_more_is_not() -> None:
    head = START + b"S: " + b"x" * (200 - len(START) - 12) + b"\r\nl:0\r\n\r\n"
    assert len(head) == 200
    assert reader().feed(head) == [head]
    error = refusal(head.replace(b"l:0", b"l: 0"))
    assert (error.reason, error.head) == ("head of more than 200 bytes", None)


def test_a_head_that_does_not_end_is_not_waited_for() -> None:
    assert refusal(START + b"x" * 200).reason == "head of more than 200 bytes"


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\0\x01", b"\0", START + b"Via: \0\r\n\r\n"])
def test_a_nul_before_the_body_is_not_sip(data: bytes) -> None:
    error = refusal(data)
    assert (error.reason, error.head) == ("not SIP", None)


def test_a_start_line_that_does_not_end_is_not_sip() -> None:
    stream = StreamReader(2 * MAX_START_LINE, 4 * MAX_START_LINE)
    assert stream.feed(b"x" * (MAX_START_LINE - 1)) == []
    with pytest.raises(StreamError, match="not SIP"):
        stream.feed(b"x")


def test_what_stood_before_an_error_is_not_lost() -> None:
    assert refusal(EMPTY + PING + BODY + b"\0").before == [EMPTY, PING, BODY]


PIECES = [
    EMPTY, BODY, PING, b"\r\n", b"\r", b"\n", b"\0", START, b"l: 2\r\n\r\n", b"ab", b"\r\n\r", b"l: 1\r\n 2\r\n\r\n",
    b"l: 400\r\n\r\n", b"Via: x\r\n\r\n", b"x" * 250,
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=8).map(b"".join), st.data())
def test_how_a_stream_is_cut_changes_nothing(stream: bytes, data: st.DataObject) -> None:
    whole = read(stream)
    assert read(*(stream[index : index + 1] for index in range(len(stream)))) == whole
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    assert read(*(stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True))) == whole


def with_body(body: bytes) -> bytes:
    return START + b"l:%d\r\n\r\n" % len(body) + body


@given(st.lists(st.sampled_from([EMPTY, BODY]) | st.binary(max_size=99).map(with_body)))
def test_messages_put_together_are_taken_apart(messages: list[bytes]) -> None:
    assert read(b"".join(messages)) == (messages, None, None)


@pytest.mark.parametrize(
    "unit", [b"a", b"\r", b"\n", b"\r\n l: 1", b"\r\nl", b"\r\nl: 1,"], ids=["a", "CR", "LF", "folds", "l", "lengths"]
)
def test_the_time_for_a_head_byte_by_byte_grows_with_its_length_alone(unit: bytes) -> None:
    def seconds(size: int) -> float:
        stream = StreamReader(1 << 20, 1 << 20)
        head = START + b"Via: " + unit * (size // len(unit)) + b"\r\n\r\n"
        begin = time.process_time()
        with contextlib.suppress(StreamError):
            for index in range(len(head)):
                stream.feed(head[index : index + 1])
        return time.process_time() - begin

    assert min(seconds(80_000) for _ in range(3)) < 16 * min(seconds(10_000) for _ in range(3))  # quadratic: 64
