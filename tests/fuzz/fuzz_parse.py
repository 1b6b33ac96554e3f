"""Coverage-guided: whatever the bytes, the readers of SIP return or raise what they say they raise.

The first byte chooses what the rest is: a datagram, a stream, or one value of a header. See README.md.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext

try:
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ModuleNotFoundError:  # requirements.txt; test_targets.py does without
    atheris = None

with atheris.instrument_imports(include=["proxy"]) if atheris else nullcontext():
    from proxy.core import validate
    from proxy.sip import digest, framing, grammar, headers, stun, uri
    from proxy.sip.errors import NotSip, SipError
    from proxy.sip.framing import StreamError, StreamReader
    from proxy.sip.message import Message, Request
    from proxy.sip.parse import parse

MAX_HEAD, MAX_MESSAGE = 600, 900  # bytes: small, so that limits are met
KEYS = (
    b"via", b"from", b"to", b"cseq", b"contact", b"route", b"record-route", b"max-forwards", b"content-length",
    b"expires", b"supported", b"proxy-require", b"path",
)  # fmt: skip


def datagram(data: bytes) -> None:
    """What is not edited leaves as it came; checks and accessors raise SipError and nothing else."""
    framing.is_keep_alive(data)
    if stun.is_stun(data):
        stun.answer(data, ("198.51.100.1", 5060))
    try:
        message = parse(data)
    except NotSip:
        return
    if message.defect is None:
        assert message.encode() == data.lstrip(b"\r\n"), "parse then encode is not the identity"
    for key in KEYS:
        message.header(key)
        message.top(key)
        for value in message.values(key):
            one_value(value)
    try:
        if isinstance(message, Request):
            validate.validate(message)
        else:
            validate.check_head(message)
            framing.cut_body(message)
    except SipError:
        return
    edited(message)


def edited(message: Message) -> None:
    """A sound message is sound when its Via was taken away and another given."""
    before = list(message.values(b"via"))
    message.push(b"Via", b"SIP/2.0/UDP 198.51.100.10;branch=z9hG4bKx")
    again = parse(message.encode())
    assert again.defect is None, "an edit made a defect"
    assert again.values(b"via")[1:] == before, "an edit moved another value"
    assert again.body == message.body
    message.pop_top(b"Via")
    assert message.values(b"via") == before


def one_value(data: bytes) -> None:
    """Each reader of a value."""
    for read in (headers.parse_via, headers.parse_name_addr, headers.parse_cseq, credentials):
        try:
            read(data)
        except SipError:
            continue
    try:
        found = uri.parse_uri(data)
        assert uri.parse_uri(found.encode()) == found, "a URI does not read as it was written"
        assert found.address[1] > 0
        assert found.key() == uri.parse_uri(found.encode()).key()
    except SipError:
        pass
    grammar.split_values(data)
    params = b";" + data
    value = grammar.param(grammar.with_param(params, b"rport", b"1"), b"rport")
    assert grammar.param(params, b"rport") is not None or value in {b"1", None}
    grammar.without_param(params, b"rport")
    grammar.decimal(data, 255)
    grammar.header_key(data)


def credentials(data: bytes) -> object:
    return digest.credentials(digest.fields(data))


def stream(data: bytes) -> None:
    """However a stream is cut, the same items come out, and the same error."""
    whole = read_stream([data])
    assert read_stream([data[at : at + 1] for at in range(len(data))]) == whole, "byte by byte it is another stream"
    half = len(data) // 2
    assert read_stream([data[:half], data[half:]]) == whole, "in two halves it is another stream"


def read_stream(segments: list[bytes]) -> tuple[list[bytes], tuple[str, bytes | None] | None]:
    """Return the items of a stream, and the reason and head of its error."""
    reader = StreamReader(MAX_HEAD, MAX_MESSAGE)
    items: list[bytes] = []
    for segment in segments:
        try:
            items += reader.feed(segment)
        except StreamError as error:
            return items + error.before, (error.reason, error.head)
    return items, None


KINDS = (datagram, stream, one_value)  # by the first byte of an input


def check(data: bytes) -> None:
    """What the fuzzer calls."""
    KINDS[data[0] % len(KINDS) if data else 0](data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
