"""The engine never raises on what the network sends, and a message that nobody edits leaves as it came."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.sip.message import Request
from proxy.sip.parse import parse
from tests.flows.ladder import MAPPED_BOB, Dialog, Ladder, Phone, alice, bob

SETTINGS = settings(max_examples=200, deadline=None, database=None, derandomize=True)

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-.!%*_+`'~", min_size=1, max_size=12).map(str.encode)
VALUE = st.binary(max_size=30).map(lambda raw: raw.translate(None, b"\r\n\0"))
LINE = st.builds(
    lambda name, space, value, folds: b"%b%b:%b%b" % (name, space, value, b"".join(b"\r\n\t" + fold for fold in folds)),
    TOKEN | st.sampled_from([b"Via", b"v", b"CSeq", b"m", b"ROUTE", b"Content-Length"]),
    st.sampled_from([b"", b" ", b"\t "]),
    VALUE,
    st.lists(VALUE, max_size=2),
)
START = st.builds(lambda method, uri: b"%b sip:%b SIP/2.0" % (method, uri), TOKEN, TOKEN) | st.builds(
    lambda status, reason: b"SIP/2.0 %d %b" % (status, reason), st.integers(100, 699), VALUE
)


@SETTINGS
@given(START, st.lists(LINE, max_size=8), st.binary(max_size=60))
def test_parse_then_encode_is_the_identity(start: bytes, lines: list[bytes], body: bytes) -> None:
    data = b"\r\n".join((start, *lines, b"", body))
    message = parse(data)
    assert message.defect is None
    assert message.encode() == data
    assert message.lines == lines


def talk(ladder: Ladder) -> list[tuple[bytes, Phone]]:
    """Return what passes in two calls, both what the phones sent and what the proxy sent on, each with a sender."""
    home, far = alice(), bob()
    said = [(home.register(), home), (home.register(b"Expires: 0", contact=b"*"), home), (home.register(), home)]
    for data, phone in said:
        ladder.send(data, phone.seen)
    for caller, callee in ((home, far), (far, home)):
        call_id = b"call-from-" + caller.name.encode()
        data = caller.request(b"INVITE", callee.aor, b"Subject: x", call_id=call_id, body=b"v=0\r\n")
        invite = ladder.one(data, caller.seen)
        ok = callee.answer(invite, 200)
        answer = ladder.one(ok, callee.seen)
        caller_side, callee_side = Dialog.of_caller(caller, answer), Dialog.of_callee(callee, invite)
        said += [(data, caller), (invite.data, callee), (ok, callee), (answer.data, caller)]
        said += [(caller_side.request(b"ACK"), caller), (caller_side.request(b"BYE", strict=True), caller)]
        said += [(callee_side.request(b"UPDATE", b"Route: <sip:198.51.100.99>"), callee)]
    return said


LIVE = Ladder(mapping=MAPPED_BOB)
SAID = talk(LIVE)
SOURCES = st.sampled_from([alice().seen, bob().seen, ("10.77.1.100", 5060), ("127.0.0.1", 1), ("2001:db8::1", 9)])

# What mutations are made of: the marks of the grammar, and whole lines that mean something to the proxy.
PIECES = [
    b",", b";", b"<", b">", b'"', b"\\", b":", b"@", b"%", b"=", b" ", b"\r\n", b"\r\n ", b"\r\n\r\n", b"\n", b"\0",
    b"\xff", b"*", b"-1", b"0", b"99999999999", b";lr", b";behind=", b";d=", b";tag=", b";rport=", b";received=x",
    b"[::1]", b"sip:", b"Route: ,\r\n", b"Via: ,\r\n", b"Contact: ,\r\n", b"Route:\r\n", b"Contact: *\r\n", b"l: 1\r\n",
    b"Proxy-Require: ,\r\n", b"Route: <sip:198.51.100.10;lr>\r\n", b"Max-Forwards: 0\r\n", b"CSeq: ,\r\n",
    b"To: ,\r\n", b"Expires: 0\r\n",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a message of the two calls with some bytes removed, doubled, replaced, or pieces put in."""
    data = draw(st.sampled_from(SAID))[0]
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(0, 12)))
        what = draw(st.sampled_from(["remove", "double", "insert", "replace", "line", "drop-line"]))
        if what in {"line", "drop-line"}:
            lines = data.split(b"\r\n")
            number = draw(st.integers(0, len(lines) - 1))
            piece = draw(st.sampled_from(PIECES)).removesuffix(b"\r\n")
            lines[number : number + 1] = [lines[number], piece] if what == "line" else []
            data = b"\r\n".join(lines)
            continue
        middle = {
            "remove": b"",
            "double": data[begin:end] * 2,
            "insert": draw(st.sampled_from(PIECES) | st.binary(max_size=6)) + data[begin:end],
            "replace": draw(st.sampled_from(PIECES) | st.binary(max_size=6)),
        }[what]
        data = data[:begin] + middle + data[end:]
    return data


def check(ladder: Ladder, data: bytes, source: tuple[str, int]) -> None:
    """One datagram leads to one at the most; it reads as SIP, and no defect is passed on."""
    sent = ladder.send(data, source)
    assert len(sent) <= 1
    assert not any(isinstance(each.message, Request) and each.message.defect for each in sent)


@SETTINGS
@given(st.binary(max_size=300), SOURCES)
def test_arbitrary_bytes_raise_nothing(data: bytes, source: tuple[str, int]) -> None:
    check(LIVE, data, source)


@settings(SETTINGS, max_examples=600)
@given(mutated(), SOURCES)
def test_mutated_messages_raise_nothing(data: bytes, source: tuple[str, int]) -> None:
    check(LIVE, data, source)


NAMES = b"Via Route Record-Route Contact From To CSeq Call-ID Max-Forwards Content-Length Proxy-Require Expires".split()
VALUES = [b"", b",", b"*", b"<", b'"', b"<sip:198.51.100.10;lr>", b"<tel:1>, 1"]


def test_no_strange_line_anywhere_in_a_call_raises() -> None:
    """Without chance: every header with every strange value, on top of, amid and below every message."""
    for data, phone in SAID:
        start, *lines = data.split(b"\r\n")
        for line in (b"%b: %b" % (name, value) for name in NAMES for value in VALUES):
            for at in (0, len(lines) // 2, lines.index(b"")):
                check(LIVE, b"\r\n".join((start, *lines[:at], line, *lines[at:])), phone.seen)


@SETTINGS
@given(START, st.lists(LINE, max_size=8), st.binary(max_size=60), SOURCES)
def test_well_formed_nonsense_raises_nothing(
    start: bytes, lines: list[bytes], body: bytes, source: tuple[str, int]
) -> None:
    via = b"Via: SIP/2.0/UDP 10.77.1.100;branch=z9hG4bKx"
    check(LIVE, b"\r\n".join((start, via, *lines, b"", body)), source)


@settings(SETTINGS, max_examples=150)
@given(mutated(), SOURCES)
def test_the_same_bytes_lead_to_the_same_bytes(data: bytes, source: tuple[str, int]) -> None:
    """A retransmission is harmless; REGISTER is judged elsewhere, for its second copy finds the first one's binding."""
    ladder = Ladder(mapping=MAPPED_BOB)
    if not data.lstrip().startswith(b"REGISTER"):
        assert [each.data for each in ladder.send(data, source)] == [each.data for each in ladder.send(data, source)]
