"""The engine never raises on what the network sends, answers everything, and forgets everything in the end."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.effects import Locate, OpenRelay, Send, SteerRelay
from proxy.core.flow import Address, may_send_to
from proxy.sip.message import Request
from proxy.sip.parse import parse
from tests.flows.follow import ack, cancel, users
from tests.flows.ladder import MAPPED_BOB, Dialog, Ladder, Phone, Sent, alice, bob

SETTINGS = settings(max_examples=100, deadline=None, database=None, derandomize=True)
MOST_SENT, MOST_EFFECTS = 4, 8  # for one message to one phone: 100 and INVITE, or ACK and refusal, with their notes
MOST_MEDIA = 80  # for one description: 16 sections, each opened, steered for both sides, and then by what was said
FOR_EVER = 1000  # seconds: longer than Timer C, its CANCEL and what comes after

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


# One message at a time


def proxy(with_passwords: bool = False, relays: bool = False) -> Ladder:
    return Ladder(
        relay=("always", range(30_000, 30_100, 2)) if relays else None,
        mapping=MAPPED_BOB, also=("2001:db8::10", 5060), allowed=() if with_passwords else ["198.51.100.20"],
        users=users(b"alice", b"bob") if with_passwords else None,
    )  # fmt: skip


def talk(ladder: Ladder) -> list[tuple[bytes, Phone]]:
    """Return what passes in two calls, both what the phones sent and what the proxy sent on, each with a sender."""
    home, far = alice(), bob()
    said = [(home.register(), home), (home.register(b"Expires: 0", contact=b"*"), home), (home.register(), home)]
    for data, phone in said:
        ladder.send(data, phone.seen)
    for caller, callee in ((home, far), (far, home)):
        call_id = b"call-from-" + caller.name.encode()
        data = caller.request(b"INVITE", callee.aor, SDP, call_id=call_id, body=OFFER)
        invite = ladder.one(data, caller.seen)
        ok = callee.answer(invite, 200, SDP, body=OFFER)
        answer = ladder.one(ok, callee.seen)
        caller_side, callee_side = Dialog.of_caller(caller, answer), Dialog.of_callee(callee, invite)
        said += [(data, caller), (invite.data, callee), (ok, callee), (answer.data, caller), (cancel(data), caller)]
        said += [(caller_side.request(b"ACK"), caller), (caller_side.request(b"BYE", strict=True), caller)]
        said += [(callee_side.request(b"UPDATE", b"Route: <sip:198.51.100.99>"), callee)]
    return said


SDP = b"Content-Type: application/sdp"
OFFER = b"v=0\r\nc=IN IP4 10.77.1.100\r\nm=audio 6000 RTP/AVP 0\r\na=rtcp:6001\r\n"
LIVE, GUARDED, RELAYING = proxy(), proxy(with_passwords=True), proxy(relays=True)
SAID = talk(LIVE)
SOURCES = st.sampled_from([alice().seen, bob().seen, ("10.77.1.100", 5060), ("127.0.0.1", 1), ("2001:db8::1", 9)])

# What mutations are made of: the marks of the grammar, and whole lines that mean something to the proxy.
PIECES = [
    b",", b";", b"<", b">", b'"', b"\\", b":", b"@", b"%", b"=", b" ", b"\r\n", b"\r\n ", b"\r\n\r\n", b"\n", b"\0",
    b"\xff", b"*", b"-1", b"0", b"99999999999", b";lr", b";behind=", b";d=", b";f=", b";gr=", b";tag=", b";rport=",
    b";received=x", b";transport=tcp", b";transport=ws", b"[::1]", b"sip:", b"sips:", b"Route: ,\r\n", b"Via: ,\r\n",
    b"Contact: ,\r\n", b"Route:\r\n", b"Contact: *\r\n", b"l: 1\r\n", b"Proxy-Require: ,\r\n", b"CSeq: ,\r\n",
    b"Route: <sip:198.51.100.10;lr>\r\n", b"Route: <sip:198.51.100.10;lr;f=QQ.1.x>\r\n", b"Max-Forwards: 0\r\n",
    b"To: ,\r\n", b"Expires: 0\r\n", b"Max-Breadth: 0\r\n", b"Supported: path, outbound, gruu\r\n", b"Path: ,\r\n",
    b"c=\r\n", b"c=IN IP4 0.0.0.0\r\n", b"m=video 9 RTP/AVP 31\r\n", b"m=audio 0 x\r\n", b"a=rtcp:", b"o=\r\n",
    b'Proxy-Authorization: Digest realm="example.org", nonce="x"\r\n', b"Authorization: Digest \r\n",
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


def check(ladder: Ladder, data: bytes, source: Address, transport: str = "udp") -> None:
    """A message leads to little; what leaves reads as SIP, bears no defect, and goes to where we may send."""
    effects = ladder.engine.receive(data, ladder.flow(source, transport, transport == "tcp"), ladder.now)
    told = [effect for effect in effects if isinstance(effect, OpenRelay | SteerRelay)]
    assert len(told) <= MOST_MEDIA
    assert len(effects) - len(told) <= MOST_EFFECTS
    sends = [effect for effect in effects if isinstance(effect, Send)]
    assert len(sends) <= MOST_SENT
    for send in sends:
        message = parse(send.data)
        assert not (isinstance(message, Request) and message.defect)
        assert send.flow.connection or may_send_to(*send.flow.remote, send.flow.local[0])
    for effect in effects:
        if isinstance(effect, Locate):
            ladder.carry_out(ladder.engine.located(effect.token, [], 502, ladder.now))
    ladder.wait(1)


@SETTINGS
@given(st.binary(max_size=300), SOURCES)
def test_arbitrary_bytes_raise_nothing(data: bytes, source: Address) -> None:
    check(LIVE, data, source)


@settings(SETTINGS, max_examples=300)
@given(mutated(), SOURCES, st.sampled_from([LIVE, GUARDED, RELAYING]), st.sampled_from(["udp", "tcp"]))
def test_mutated_messages_raise_nothing(data: bytes, source: Address, ladder: Ladder, transport: str) -> None:
    check(ladder, data, source, transport)


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
def test_well_formed_nonsense_raises_nothing(start: bytes, lines: list[bytes], body: bytes, source: Address) -> None:
    via = b"Via: SIP/2.0/UDP 10.77.1.100;branch=z9hG4bKx"
    check(LIVE, b"\r\n".join((start, via, *lines, b"", body)), source)


def test_after_all_that_nothing_is_left() -> None:
    for ladder in (LIVE, GUARDED, RELAYING):
        ladder.wait(FOR_EVER)
        assert len(ladder.engine.transactions) == ladder.engine.pending() == 0
        assert ladder.engine.next_deadline() is None


@SETTINGS
@given(mutated(), SOURCES)
def test_a_copy_of_a_message_leads_to_nothing_new(data: bytes, source: Address) -> None:
    """A retransmission is harmless: what it leads to is a copy of what the first led to, and no request but an ACK."""
    ladder = proxy()
    flow = ladder.flow(source)
    first, second = (ladder.carry_out(ladder.engine.receive(data, flow, ladder.now)) for _ in range(2))
    assert {each.data for each in second} <= {each.data for each in first}
    assert all(each.what == "ACK" or each.what.isdigit() for each in second)


# Whole calls in any order: the team has three phones and a name, and everything happens when it wants


PLACES = [(f"198.51.100.{number}", 5060) for number in (100, 101, 102)]
TEAM = [Phone("team", place, place) for place in PLACES]
QS = [b"1", b"1", b"0.5"]
EVENT = st.one_of(
    st.tuples(st.sampled_from(["invite", "cancel"]), st.integers(0, 1), st.just(0)),
    st.tuples(st.sampled_from(["ack", "fail", "locate"]), st.integers(0, 5), st.integers(0, 1)),
    st.tuples(st.just("answer"), st.integers(0, 5), st.sampled_from([100, 180, 200, 302, 401, 487, 503, 603])),
    st.tuples(st.just("wait"), st.sampled_from([0, 1, 33, 182]), st.just(0)),
)


class Story:
    """What happened in one run: every message that left, and the INVITEs that led to it."""

    def __init__(self) -> None:
        self.ladder = Ladder()
        for phone, q in zip(TEAM, QS, strict=True):
            lines = b"<%b>;q=%b, <sip:team@%b.example.com>;q=%b" % (phone.contact, q, phone.seen[0].encode(), q)
            self.ladder.says(phone, phone.register(contact=lines, call_id=phone.seen[0].encode()))
        self.invites: dict[int, tuple[float, bytes]] = {}  # when each was sent first
        self.sent: list[Sent] = []

    def happen(self, what: str, number: int, more: int) -> None:
        ladder, caller = self.ladder, bob()
        requests = [each for each in self.sent if not each.what.isdigit() and each.what != "ACK"]
        if what == "invite":
            data = caller.request(b"INVITE", b"sip:team@198.51.100.10", cseq=number)
            first, _ = self.invites.setdefault(number, (ladder.now, data))
            if ladder.now - first < 32:  # Timer B: no caller repeats it after that
                self.sent += ladder.send(data, caller.seen)
        elif what == "cancel" and number in self.invites:
            self.sent += ladder.send(cancel(self.invites[number][1]), caller.seen)
        elif what == "ack":
            for answer in self.refusals()[number : number + 1]:
                invite = self.invites[int((answer.header("CSeq") or b"").split()[0])][1]
                self.sent += ladder.send(ack(invite, answer), caller.seen)
        elif what == "fail" and self.sent:
            self.sent += ladder.fail(self.sent[-1 - number % len(self.sent)])
        elif what == "locate" and ladder.lookups:
            found = ladder.lookups.pop(number % len(ladder.lookups))
            hops = [("udp", TEAM[number % 3].seen)] * (2 * more)
            self.sent += ladder.carry_out(ladder.engine.located(found.token, hops, 502, ladder.now))
        elif what == "answer" and requests:
            request = requests[-1 - number % len(requests)]
            self.sent += ladder.send(TEAM[0].answer(request, more), request.to)
        elif what == "wait":
            self.sent += [each for _, each in ladder.wait(number)]

    def refusals(self) -> list[Sent]:
        mine = [each for each in self.sent if each.to == bob().seen and each.what.isdigit()]
        return [each for each in mine if each.what >= "300" and b"INVITE" in (each.header("CSeq") or b"")]

    def end(self) -> None:
        while self.ladder.lookups:
            self.happen("locate", 0, 0)
        self.happen("wait", FOR_EVER, 0)


@settings(SETTINGS, max_examples=150)
@given(st.lists(EVENT, min_size=1, max_size=25))
def test_every_call_ends_with_2xx_or_exactly_one_refusal_and_nothing_is_left(
    events: list[tuple[str, int, int]]
) -> None:
    """RFC 3261 §16.7: every 2xx goes up, and at the most one other final response."""
    story = Story()
    for event in events:
        story.happen(*event)
    story.end()
    assert len(story.ladder.engine.transactions) == story.ladder.engine.pending() == 0
    assert story.ladder.engine.next_deadline() is None
    finals: dict[bytes, set[bytes]] = defaultdict(set)
    for each in story.sent:
        if each.to == bob().seen and each.what >= "200" and (each.header("CSeq") or b"").endswith(b" INVITE"):
            finals[each.header("CSeq") or b""].add(each.start if each.what < "300" else each.data)
    assert len(finals) == len(story.invites)
    for answers in finals.values():
        assert sum(not answer.startswith(b"SIP/2.0 2") for answer in answers) <= 1
