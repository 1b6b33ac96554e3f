"""Calls with media in any order, with any session description: nothing is raised, and no port is lost or used twice."""

from __future__ import annotations

from random import Random

from proxy.core.effects import CloseRelay, OpenRelay, SteerRelay
from tests.flows.follow import ack, cancel
from tests.flows.ladder import Dialog, Ladder, Phone, Sent, alice, bob
from tests.fuzz.test_engine import FOR_EVER

STORIES, EVENTS = 150, 40
PORTS = range(30000, 30012, 2)  # three calls' worth
OURS = {("198.51.100.10", port) for port in (5060, *range(30000, 30012))}
KINDS = [b"Content-Type: application/sdp", b"c: application/sdp", b'c: multipart/mixed;boundary="x"']
LINES = [
    b"v=0", b"o=a 1 1 IN IP4 10.77.1.100", b"o=a", b"c=IN IP4 10.77.1.100", b"c=IN IP4 198.51.100.200",
    b"c=IN IP4 198.51.100.10", b"c=IN IP4 0.0.0.0", b"c=IN IP6 2001:db8::1", b"c=", b"c=IN IP4 127.0.0.1", b"c",
    b"m=audio 6000 RTP/AVP 0", b"m=audio 0 RTP/AVP 0", b"m=video 30001/2 RTP/AVP 96", b"m=message 9 TCP/MSRP *",
    b"m=audio 5060 RTP/AVP 0", b"m=", b"m=audio", b"a=rtcp:6001", b"a=rtcp:30001 IN IP4 198.51.100.10", b"a=rtcp:",
    b"a=rtpmap:96 x/", b"a=rtpmap:0 x/9", b"a=candidate:1", b"--x", b"--x--", b"Content-Type: application/sdp", b"",
    b"a=" + 1400 * b"x",
]  # fmt: skip
USUAL = b"v=0\r\nc=IN IP4 10.77.1.100\r\nm=audio 6000 RTP/AVP 0\r\n"
TEAM = [Phone("team", ("10.77.1.100", 5060), ("198.51.100.20", 40001)), Phone("team", *2 * (("198.51.100.101", 5060),))]
STATUSES = [180, 183, 183, 200, 200, 200, 401, 481, 487, 491, 503]
WHAT = [
    *["invite"] * 2, *["answer"] * 5, *["within"] * 3, "bye", "cancel", "ack", "fail", "locate", "wait", "silent",
    "unopened",
]  # fmt: skip


def body(chance: Random) -> bytes:
    """Return a session description: a usual one, one with more lines or other bytes, lines by chance, or none."""
    kind = chance.randrange(8)
    some = b"\r\n".join(chance.choices(LINES, k=chance.randrange(8)))
    if kind < 4:
        return (b"", some, USUAL + some, USUAL[: chance.randrange(len(USUAL))] + some)[kind]
    return USUAL + b"m=video 6002 RTP/AVP 31\r\n" * (kind == 4)


class Story:
    """What happened in one run, and what the relay was told."""

    def __init__(self) -> None:
        self.ladder = Ladder(relay=("auto", PORTS), allowed=[alice().seen[0]])
        for number, phone in enumerate(TEAM):
            path = [b"Supported: path", b"Path: <sip:edge.example.net;lr>"] if number == 2 else []
            self.ladder.says(phone, phone.register(*path, call_id=b"%d" % number))
        self.ladder.says(bob(), bob().register())
        self.invites: dict[int, bytes] = {}
        self.sent: list[Sent] = []
        self.numbers = iter(range(100, 1000))
        self.taken: set[int] = set()  # ports that somebody else has

    def happen(self, what: str, number: int, more: int, kind: bytes, body: bytes) -> None:
        ladder, caller = self.ladder, (alice(), bob())[number & 1]
        if what == "invite":
            target = (b"sip:team@198.51.100.10", b"sip:bob@198.51.100.10", b"sip:x@name.example.net")[more % 3]
            call_id = b"%d" % (number >> 1)
            data = caller.request(b"INVITE", target, kind, cseq=next(self.numbers), call_id=call_id, body=body)
            self.invites[number] = data
            self.sent += ladder.send(data, caller.seen)
        elif what == "cancel" and number in self.invites:
            self.sent += ladder.send(cancel(self.invites[number]), caller.seen)
        elif what == "answer":
            self.answer(number, more, kind, body)
        elif what in {"within", "bye"}:
            self.within(number, more, kind, body, b"BYE" if what == "bye" else (b"INVITE", b"UPDATE", b"ACK")[more % 3])
        elif what == "ack":
            refusals = [each for each in self.sent if each.what.isdigit() and each.what >= "300"]
            for answer in refusals[-1:]:
                for invite in self.invites.values():
                    self.sent += ladder.send(ack(invite, answer), answer.to)
        elif what == "fail" and self.sent:
            self.sent += ladder.fail(self.sent[-1 - number % len(self.sent)])
        elif what == "locate" and ladder.lookups:
            found = ladder.lookups.pop(number % len(ladder.lookups))
            hops = [("udp", ("198.51.100.77", 5060 + each)) for each in range(more % 3)]
            self.sent += ladder.carry_out(ladder.engine.located(found.token, hops, 502, ladder.now))
        elif what == "wait":
            self.sent += [each for _, each in ladder.wait((0, 1, 33, 182)[more % 4])]
        elif what == "silent":
            self.sent += ladder.carry_out(ladder.engine.relay_silent(number + 1, ladder.now))
        elif what == "unopened":
            opened = [each for each in ladder.media if isinstance(each, OpenRelay)]
            for each in opened[-1:]:
                self.taken.add(each.here[0][1])
                self.sent += ladder.carry_out(
                    ladder.engine.relay_unopened(each.session, [each.here[0][1]], ladder.now)
                )
        self.check()

    def answer(self, number: int, more: int, kind: bytes, body: bytes) -> None:
        requests = [each for each in self.sent if not each.what.isdigit() and each.what not in {"ACK", "CANCEL"}]
        if not requests:
            return
        request = requests[-1 - number % len(requests)]
        status = STATUSES[more % len(STATUSES)] if request.what == "INVITE" else 200 + (more % 3) * 281 % 300
        phone = Phone("team", request.to, request.to)
        tag = (b";tag=one", b";tag=two", b";tag=alice", b"")[more % 4]
        data = phone.answer(request, status, kind, body=body).replace(b";tag=team", tag)
        self.sent += self.ladder.send(data, request.to)

    def within(self, number: int, more: int, kind: bytes, body: bytes, method: bytes) -> None:
        """Something within a dialog, of the caller or of whoever was called."""
        answers = [each for each in self.sent if each.what in {"183", "200"} and each.header("Record-Route")]
        invites = [each for each in self.sent if each.what == "INVITE"]
        if more & 1 and answers:
            answer = answers[-1 - number % len(answers)]
            phone = alice() if answer.to == alice().seen else bob()
            dialog = Dialog.of_caller(phone, answer)
        elif not more & 1 and invites:
            invite = invites[-1 - number % len(invites)]
            phone = Phone("one", invite.to, invite.to)
            dialog = Dialog.of_callee(phone, invite)
        else:
            return
        data = dialog.request(method, kind, cseq=next(self.numbers), body=body)
        self.sent += self.ladder.send(data, phone.seen)

    def check(self) -> None:
        """A port is free, or one session's, or somebody else's; and the relay is told the same. None leads to us."""
        media = self.ladder.engine.media
        assert media is not None
        used = [
            port for each in media.sessions.values() for stream in each.streams.values() for _, port in stream.here
        ]
        known = [*media.free, *used]
        assert len(set(known)) == len(known)
        assert set(known) | self.taken == set(PORTS)
        is_open: dict[int, list[int]] = {}
        for effect in self.ladder.media:
            if isinstance(effect, OpenRelay):
                is_open.setdefault(effect.session, []).extend(port for _, port in effect.here)
            elif isinstance(effect, CloseRelay):
                is_open.pop(effect.session, None)
            elif isinstance(effect, SteerRelay):
                assert not OURS & {effect.rtp, effect.rtcp}
        assert sorted(port for ports in is_open.values() for port in ports) == sorted(used)

    def end(self) -> None:
        """Nobody says anything any more."""
        while self.ladder.lookups:
            self.happen("locate", 0, 0, b"", b"")
        self.ladder.wait(FOR_EVER)
        media = self.ladder.engine.media
        assert media is not None
        for session in list(media.sessions):
            self.ladder.carry_out(self.ladder.engine.relay_silent(session, self.ladder.now))
        self.check()
        assert not media.sessions
        assert not media._dialogs


def test_no_port_is_lost_or_used_twice_whatever_happens() -> None:
    for number in range(STORIES):
        chance, story = Random(number), Story()
        for _ in range(EVENTS):
            more = chance.randrange(7), chance.randrange(40), chance.choice(KINDS), body(chance)
            story.happen(chance.choice(WHAT), *more)
        story.end()
