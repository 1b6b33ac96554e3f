"""Media through the proxy: whose, by which ports, from whom (RFC 3264, 4961, 7362).

A session has two sides; each media section of it has a port of ours that faces each side. What one side sends to its
port leaves by the other side's, so each hears the other from where it was told to speak to. The invariant: a port
belongs to one session at a time, and comes back when the session ends, however it ends.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from itertools import count

from proxy.core.effects import CloseRelay, Effect, Note, OpenRelay, SteerRelay
from proxy.core.flow import Address, is_private
from proxy.core.party import Heard, Side, hosts_of, wanted_at
from proxy.sip import sdp
from proxy.sip.errors import SipError
from proxy.sip.headers import parse_name_addr
from proxy.sip.message import Message, Request, Response

AUTO, ALWAYS = "auto", "always"
# What may bring an offer or an answer (RFC 3261 §13, 3262, 3311); of an ACK, the answer to a 200's offer.
METHODS = frozenset((b"INVITE", b"ACK", b"PRACK", b"UPDATE"))

# Of all ports, those that calls from one host may hold before they are up: else fifteen INVITEs of a stranger, with
# sixteen media lines each, would take all of them for as long as somebody rings. One call may always be as large.
SHARE = 1 / 2

Key = tuple[bytes, bytes, bytes]  # Call-ID, and the two tags: the caller's first


@dataclass(slots=True)
class Stream:
    """One media section: our address that faces each side, what each side has said, and what it had said before."""

    here: tuple[Address, Address]
    heard: list[Heard]
    before: list[Heard | None] = field(default_factory=lambda: [None, None])


@dataclass(slots=True)
class Session:
    """The media of one dialog, or of the branch that is to become one.

    `caller` is the tag of the side 0; `dialogs` are those that it serves: more than one only where another proxy forks.
    It is up when the request that began it was answered with 2xx; if that is refused, nothing is left of it.
    """

    id: int
    call_id: bytes
    caller: bytes
    sides: list[Side]
    begun_by: bytes  # a method
    source: str  # the host that the request came from
    streams: dict[int, Stream] = field(default_factory=dict)  # by the number of the section
    dialogs: set[Key] = field(default_factory=set)
    callee: bytes = b""  # the tag of whoever answered with 2xx first
    is_up: bool = False
    is_open: bool = True


class Media:
    """All sessions. `ports` are even numbers, each with the odd one above it ours too."""

    def __init__(
        self, mode: str, ports: Sequence[int], sink: list[Effect], counts: Counter[str],
        is_our_host: Callable[[str], bool], is_our_sip: Callable[[Address], bool],
    ) -> None:  # fmt: skip
        self.sessions: dict[int, Session] = {}
        self.free = deque(ports)  # taken at one end, given back at the other: a port rests as long as it can
        self._mode = mode
        self._mine = frozenset(ports)
        self._share = max(SHARE * len(ports), 2 * sdp.MAX_MEDIA)
        self._waiting: Counter[str] = Counter()  # ports of calls that are not up yet, by the host that they came from
        self._sink = sink
        self._counts = counts
        self._is_our_host = is_our_host
        self._is_our_sip = is_our_sip
        self._dialogs: dict[Key, Session] = {}
        self._numbers = count(1)

    # Requests

    def admit(self, request: Request, caller: Side, callees: Sequence[Side]) -> None:
        """See that there are ports enough for what a request offers, or may be offered in its answer.

        Raises SipError: 400 or 488 for its SDP, 503 for want of ports.
        """
        if request.method not in METHODS or self.find(request) is not None:
            return
        wanted = 0
        for callee in callees:
            description = self._read(request, caller, callee)
            if description is None:
                wanted += request.method == b"INVITE" and self._is_wanted(caller, callee, None)
            elif self._is_wanted(caller, callee, description) and not self._is_ours(description):
                wanted += sum(media.port > 0 and media.is_udp for media in description.media)
        self._see_to(2 * wanted, caller.flow.remote[0], request)

    def down(self, request: Request, session: Session | None, caller: Side, callee: Side) -> Session | None:
        """Edit the copy of a request for one target; return its session. `session` is what was returned for it before.

        Raises SipError.
        """
        if request.method not in METHODS:
            return self.find(request) if request.method == b"BYE" else None
        session = session or self.find(request)
        description = self._read(request, caller, callee)
        if description is None:
            return session
        if self._is_ours(description):
            return None
        session = session or self._offered(request, request.method, description, caller, callee)
        if session is not None and session.is_open:
            self._edit(request, description, session, _tag(request, b"from"), caller, callee)
        return session

    def follow(self, request: Request) -> None:
        """Edit a request that can only be of a dialog that is known: an ACK. What it answers is agreed.

        One that cannot be read passes as it is: nobody could be told, and without it there is no call.
        """
        session = self.find(request)
        if session is None:
            return
        who = 0 if _tag(request, b"from") == session.caller else 1
        try:
            self.down(request, session, session.sides[who], session.sides[1 - who])
        except SipError as error:
            self._pass_as_it_is(request, error)
        _agree(session)

    def find(self, message: Message) -> Session | None:
        """Return the session of the dialog that a message is in."""
        if not self._dialogs:
            return None
        call_id, one, other = message.header(b"call-id") or b"", _tag(message, b"from"), _tag(message, b"to")
        return self._dialogs.get((call_id, one, other)) or self._dialogs.get((call_id, other, one))

    # Responses

    def up(
        self, response: Response, session: Session | None, request: Request | None, caller: Side, callee: Side
    ) -> Session | None:
        """Edit a response to an INVITE, PRACK or UPDATE on its way to whoever asked; return its session.

        `request` is what it answers, as long as no final response has come. A response that cannot be read passes as
        it is: nobody else could be told.
        """
        if response.status >= 300 or (session is not None and not session.is_open):
            return session
        tag = _tag(response, b"to")
        try:
            description = self._read(response, caller, callee)
            if session is None and description is not None and request is not None and not request.body:
                session = self._offered(response, request.method, description, caller, callee)
            if session is not None:
                self._belongs(session, response, tag)
                if description is not None:
                    self._edit(response, description, session, tag, callee, caller)
        except SipError as error:
            self._pass_as_it_is(response, error)
        return session

    def settled(self, session: Session, method: bytes, status: int, message: Message | None) -> None:
        """A request of this session has its final response. `message` is either of the two.

        It is None where a branch has failed after another one's answer: then the request is not there any more.
        """
        if method == b"BYE":
            if status not in {401, 407} and message is not None:
                self._hang_up(session, message)
        elif status < 300:
            if method == session.begun_by and not session.is_up and message is not None:
                self._answered(session, _tag(message, b"to"))
            _agree(session)
        elif method == session.begun_by and not session.is_up:
            self.close(session, "failed")
        else:
            self._take_back(session)

    def silent(self, id: int) -> None:
        """Nothing has come for so long that nobody can be there any more; while it rings, nobody need speak."""
        session = self.sessions.get(id)
        if session is not None and session.is_up:
            self._counts["relays-silent"] += 1
            self.close(session, "silent")

    def unopened(self, id: int, ports: Sequence[int]) -> None:
        """Ports could not be opened: these are somebody else's, and are not used again. The call has no media."""
        session = self.sessions.get(id)
        self._counts["relay-failures"] += 1
        if session is not None:
            self.close(session, "port-taken" if ports else "unopened")
        for port in ports:
            if port in self.free:
                self.free.remove(port)

    def close(self, session: Session, why: str) -> None:
        """End a session, and take its ports back."""
        if not session.is_open:
            return
        session.is_open = False
        self._waits_no_more(session)
        del self.sessions[session.id]
        for key in list(session.dialogs):
            self._forget(session, key)
        for stream in session.streams.values():
            self.free.extend(port for _, port in stream.here)
        self._sink.append(CloseRelay(session.id, why))

    # What they need

    def _is_wanted(self, one: Side, other: Side, description: sdp.Description | None) -> bool:
        if description is not None and not any(media.port and media.is_udp for media in description.media):
            return False
        if self._mode == ALWAYS or one.natted or other.natted:
            return True
        if (":" in one.flow.local[0]) != (":" in other.flow.local[0]):
            return True
        if description is None:
            return False
        hosts = {media.host for media in description.media if media.port and media.is_udp}
        return any(is_private(host) and not is_private(one.flow.remote[0]) for host in hosts)

    def _read(self, message: Message, one: Side, other: Side) -> sdp.Description | None:
        """Return the session description. Raises SipError for a bad one, unless it is none of our business."""
        try:
            return _description(message)
        except SipError:
            if self._is_wanted(one, other, None):
                raise
            return None

    def _is_ours(self, description: sdp.Description) -> bool:
        """Say whether this description has been here before: a spiral (RFC 5393 §3) is relayed once."""
        return any(self._is_port_of_ours(media.host, media.port) for media in description.media)

    def _is_port_of_ours(self, host: str, port: int) -> bool:
        return port & ~1 in self._mine and self._is_our_host(host)

    def _exhausted(self, call_id: bytes | None) -> SipError:
        self._counts["relay-exhausted"] += 1
        self._sink.append(Note("relay-exhausted", {"call_id": call_id, "sessions": len(self.sessions)}))
        return SipError(503, b"No Media Port", ((b"Retry-After", b"10"),))

    def _pass_as_it_is(self, message: Message, error: SipError) -> None:
        self._counts["media-not-relayed"] += 1
        self._sink.append(Note("media-not-relayed", {"call_id": message.header(b"call-id"), "why": str(error)}))

    def _check_ports(
        self, message: Message, description: sdp.Description, streams: Container[int], source: str
    ) -> None:
        """See that there are ports for the sections that have none, before anything changes. Raises SipError 503."""
        wanted = [media for number, media in enumerate(description.media) if number not in streams]
        self._see_to(2 * sum(media.port > 0 and media.is_udp for media in wanted), source, message)

    def _see_to(self, wanted: int, source: str, message: Message) -> None:
        """See that so many ports are left, for who has not had his share. Raises SipError 503."""
        if wanted > len(self.free) or (wanted and wanted + self._waiting[source] > self._share):
            raise self._exhausted(message.header(b"call-id"))

    def _offered(
        self, message: Message, method: bytes, description: sdp.Description, caller: Side, callee: Side
    ) -> Session | None:
        """Begin a session with a first offer, unless media takes its own way. Raises SipError 503."""
        if self._is_ours(description) or not self._is_wanted(caller, callee, description):
            return None
        source = caller.flow.remote[0]
        self._check_ports(message, description, {}, source)
        call_id = message.header(b"call-id") or b""
        session = Session(next(self._numbers), call_id, _tag(message, b"from"), [caller, callee], method, source)
        self.sessions[session.id] = session
        self._belongs(session, message, _tag(message, b"to"))  # a dialog that the relay of before a restart knew
        return session

    def _answered(self, session: Session, callee: bytes) -> None:
        """Somebody is there: of the others behind another proxy, whoever answers too is known again then."""
        self._waits_no_more(session)
        session.is_up = True
        session.callee = callee
        for key in [key for key in session.dialogs if key[2] != callee]:
            self._forget(session, key)

    def _waits_no_more(self, session: Session) -> None:
        if not session.is_up:
            self._waiting[session.source] -= 2 * len(session.streams)
            if not self._waiting[session.source]:
                del self._waiting[session.source]

    def _belongs(self, session: Session, message: Message, tag: bytes) -> None:
        """Have later requests of this dialog find the session."""
        key = session.call_id, session.caller, tag
        if not tag or _tag(message, b"from") != session.caller:
            return
        if key not in session.dialogs:
            session.dialogs.add(key)
            self._dialogs[key] = session

    def _hang_up(self, session: Session, bye: Message) -> None:
        one, other = _tag(bye, b"from"), _tag(bye, b"to")
        for key in ((session.call_id, one, other), (session.call_id, other, one)):
            self._forget(session, key)
        if not session.dialogs:
            self.close(session, "hung-up")

    def _forget(self, session: Session, key: Key) -> None:
        session.dialogs.discard(key)
        if self._dialogs.get(key) is session:  # two phones may have made up the same tag
            del self._dialogs[key]

    def _edit(
        self, message: Message, description: sdp.Description, session: Session, tag: bytes, speaker: Side, other: Side
    ) -> None:
        """Have whoever gets this message send its media to us, and us know where its sender is. Raises SipError.

        Where another proxy forked, the first who answered is listened to; the others' calls will be hung up.
        """
        self._check_ports(message, description, session.streams, "" if session.is_up else session.source)
        who = 0 if tag == session.caller else 1
        is_heard = not session.callee or tag in {session.caller, session.callee}
        if is_heard:
            session.sides[who], session.sides[1 - who] = speaker, other  # a router may have changed
        ports: list[sdp.Port | None] = []
        for number, media in enumerate(description.media):
            if not media.port or not media.is_udp:
                ports.append(None)
                continue
            stream = session.streams.get(number) or self._open(session, number, media)
            if is_heard:
                self._hear(session, number, stream, who, media)
            ports.append(sdp.Port(*stream.here[1 - who]))
        place = sdp.locate(message)
        assert place is not None
        begin, end = place
        message.body = message.body[:begin] + sdp.edited(description, ports) + message.body[end:]
        if message.header(b"content-length") is not None:
            # All of its lines: whoever believed another one would take our body's end for a message.
            message.replace_values(b"Content-Length", [b"%d" % len(message.body)])

    def _open(self, session: Session, number: int, media: sdp.Media) -> Stream:
        first, second = (side.flow.local[0] for side in session.sides)
        here = (first, self.free.popleft()), (second, self.free.popleft())
        # As long as he speaks who has not said where he is:
        heard = [Heard(hosts_of(side, ""), media.rate) for side in session.sides]
        stream = session.streams[number] = Stream(here, heard)
        if not session.is_up:
            self._waiting[session.source] += 2
        self._sink.append(OpenRelay(session.id, number, session.call_id, media.kind, here, media.rate))
        for who in (0, 1):
            self._steer(session, number, stream, who)
        return stream

    def _hear(self, session: Session, number: int, stream: Stream, who: int, media: sdp.Media) -> None:
        """Note where a party says that it is, and tell the relay, which may then learn anew where it is."""
        side = session.sides[who]
        host = media.host if self._may_be(media.host, media.port) else ""
        rtp = wanted_at(side, host, media.port)
        rtcp = wanted_at(side, *media.rtcp) if host and self._may_be(*media.rtcp) else None
        heard = Heard(hosts_of(side, host), media.rate, rtp, rtcp, not side.natted)
        if session.is_up and stream.before[who] is None:
            stream.before[who] = stream.heard[who]
        if session.is_up or heard != stream.heard[who]:
            stream.heard[who] = heard
            self._steer(session, number, stream, who)

    def _may_be(self, host: str, port: int) -> bool:
        """Say whether a party may be there.

        Not at our own ports: packets would go round in us for ever. Nor where we speak SIP: to come from ourselves may
        be as good as a password.
        """
        return not self._is_port_of_ours(host, port) and not self._is_our_sip((host, port))

    def _steer(self, session: Session, number: int, stream: Stream, who: int) -> None:
        heard = stream.heard[who]
        self._sink.append(
            SteerRelay(session.id, number, who, heard.hosts, heard.rtp, heard.rtcp, heard.is_fixed, heard.rate)
        )

    def _take_back(self, session: Session) -> None:
        """What was offered was not accepted: all is as it was (RFC 3264 §8)."""
        for number, stream in session.streams.items():
            for who, before in enumerate(stream.before):
                if before is not None:
                    stream.heard[who] = before
                    self._steer(session, number, stream, who)
        _agree(session)


def _agree(session: Session) -> None:
    """What was said last is valid: nothing before it can come back."""
    for stream in session.streams.values():
        stream.before = [None, None]


def _description(message: Message) -> sdp.Description | None:
    place = sdp.locate(message)
    return None if place is None else sdp.parse_sdp(message.body[place[0] : place[1]])


def _tag(message: Message, key: bytes) -> bytes:
    return parse_name_addr(message.header(key) or b"").tag or b""
