"""Who sent this request? Digest authentication (RFC 3261 §22, RFC 7616, RFC 8760), challenges and answers to them.

The invariant: a response counts once. A nonce is signed, costs us nothing until somebody uses it with the right
password, and from then on every nc is accepted once. What this process has no record of (another process issued it, its
record was dropped, somebody invented it) is stale: the right password is asked for again with a new nonce, no user is.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest

from proxy.core.signer import Signer, pack, unpack
from proxy.sip import digest
from proxy.sip.digest import Credentials
from proxy.sip.errors import SipError
from proxy.sip.headers import parse_name_addr
from proxy.sip.message import Request
from proxy.sip.uri import parse_uri

NONCE_LIFETIME_S = 300
REPEATED_S = 32  # within which a request may come again: 64*T1 (RFC 3261 §17.1.1.2)
MAX_REPEATED = 1000  # requests whose challenge is remembered; all are forgotten when there are more
MAX_NONCES = 20_000  # used ones, 40 bytes each; a phone whose nonce had to go asks for another
FINGERPRINT_BYTES = 16
WINDOW = 32  # how far below the highest nc a late request may come; UDP reorders neighbours, not more
ONCE = 1 << 33  # the "nc" of a request without qop, far above all that 8 hex digits can say: its nonce is used up
_SEEN = (1 << WINDOW + 1) - 1
_STAMP_BYTES = 6  # milliseconds, and the serial number: each enough for 8,900 years or 2.8e14 nonces
_STAMP_CHARS = 16  # both of them, packed


class Challenge(SipError):
    """401 or 407: prove who you are.

    `user` is the name that was claimed (a stranger's bytes), None without credentials for our realm. `failed` says that
    they were wrong: user, password, or an algorithm that was not offered; a caller counts these. `stale` says that they
    were right, but for a nonce that is too old, used up, or not ours.
    """

    def __init__(
        self, status: int, headers: tuple[tuple[bytes, bytes], ...], user: bytes | None, failed: bool, stale: bool
    ) -> None:
        super().__init__(status, headers=headers)
        self.user = user
        self.failed = failed
        self.stale = stale


@dataclass(slots=True)
class Use:
    """What is known of a nonce that was used: bit i of `seen` stands for the nc `highest` - i."""

    highest: int
    seen: int
    last: bytes  # the fingerprint of the request that bore `highest`

    def accepts(self, nc: int, fingerprint: bytes) -> bool:
        """Say whether this nc is new, and mark it; the retransmission of the last request is not a replay."""
        if nc > self.highest:
            ahead = nc - self.highest
            self.seen = (self.seen << ahead | 1) & _SEEN if ahead <= WINDOW else 1
            self.highest, self.last = nc, fingerprint
            return True
        if nc == self.highest:
            return fingerprint == self.last
        bit = 1 << self.highest - nc if self.highest - nc <= WINDOW else 0
        is_new = bit != 0 and not self.seen & bit
        self.seen |= bit
        return is_new


class Uses:
    """The uses of nonces, by serial number: as many as there are places, the older one of two in one place goes.

    In arrays, because it lives long: small objects among the many short-lived ones would keep the memory around them.
    """

    def __init__(self, places: int) -> None:
        self._serials = array("Q", bytes(8 * places))
        self._highest = array("Q", bytes(8 * places))
        self._seen = array("Q", bytes(8 * places))
        self._last = bytearray(FINGERPRINT_BYTES * places)
        self._forgotten = 0  # the highest serial number that had to go; up to it, no record means stale

    def accepts(self, serial: int, nc: int, fingerprint: bytes) -> bool:
        """Say whether a nonce is used with this nc for the first time, or by a retransmission; and record it."""
        place = serial % len(self._serials)
        held = self._serials[place]
        begin = place * FINGERPRINT_BYTES
        if held == serial:
            use = Use(self._highest[place], self._seen[place], bytes(self._last[begin : begin + FINGERPRINT_BYTES]))
            is_new = use.accepts(nc, fingerprint)
        elif held > serial or serial <= self._forgotten:
            return False
        else:
            self._forgotten = max(self._forgotten, held)
            self._serials[place] = serial
            use, is_new = Use(nc, 1, fingerprint), True
        self._highest[place], self._seen[place] = use.highest, use.seen
        self._last[begin : begin + FINGERPRINT_BYTES] = use.last
        return is_new


class Authenticator:
    """Challenges, and checks what comes back.

    `users` is user -> algorithm -> HA1 in lower-case hex; `order` are the algorithms that are offered, the preferred
    first: a client takes the topmost that it knows (RFC 8760 §2.4). `signer` has the key that makes nonces ours.
    Raises NoAlgorithm when this Python cannot compute one of `order`.
    """

    def __init__(
        self,
        realm: bytes,
        users: Mapping[bytes, Mapping[str, bytes]],
        order: Sequence[str],
        signer: Signer,
        nonce_lifetime_s: float = NONCE_LIFETIME_S,
        max_nonces: int = MAX_NONCES,
    ) -> None:
        self._realm = realm
        self._users = users
        self._order = tuple(order)
        self._signer = signer
        self._lifetime_s = nonce_lifetime_s
        # For users that do not exist: their responses are computed and compared like all others, so time tells nothing.
        self._nobody = {name: digest.ha1(name, b"", realm, signer.sign(b"nobody")) for name in self._order}
        self._began: bytes | None = None  # signed into every nonce: those of an earlier process are not ours
        self._issued = 0
        self._uses = Uses(max_nonces)
        # When a request was challenged, and with which nonce; by its hash, for a stranger's may be long.
        self._asked: dict[int, tuple[float, bytes]] = {}

    @property
    def realm(self) -> bytes:
        """The realm that credentials must be for."""
        return self._realm

    def set_users(self, users: Mapping[bytes, Mapping[str, bytes]]) -> None:
        """Take another table of users; nonces live on."""
        self._users = users

    def claimed(self, request: Request, *, proxy: bool) -> bytes | None:
        """Return the user name in the credentials for our realm, None without any. Raises SipError 400."""
        given = self._credentials(request, b"proxy-authorization" if proxy else b"authorization")
        return None if given is None else given.user

    def check(self, request: Request, now: float, *, proxy: bool, source: bytes = b"") -> bytes:
        """Return the name of the user who sent a request; `proxy` asks with 407 instead of 401. `now` is in seconds.

        Raises Challenge, or SipError 400 for credentials that are malformed or for another URI. To be called with the
        request as it came, before its Request-URI is changed, and never for ACK and CANCEL: nobody can answer a
        challenge to those (RFC 3261 §22.1). Whether this user may do what he asks for is the caller's business.
        `source` is the sender's address: a nonce is worth something to whom it was given and to nobody else.
        """
        if self._began is None:
            self._began = b"%d" % (now * 1e6)
        given = self._credentials(request, b"proxy-authorization" if proxy else b"authorization")
        if given is None:
            raise self._challenge(request, now, proxy, source, nonce=self._nonce_again(request, now, source))
        if given.qop is not None and given.qop.lower() != b"auth":  # auth-int was not offered: say again what is
            raise self._challenge(request, now, proxy, source, given.user)
        if not names_target(given.uri, request.uri):
            raise SipError(400, b"Digest URI Differs")
        stamp = self._stamp(given.nonce, source)
        if stamp is None:  # no word on the response: who invents nonces could try passwords, and nothing would count
            raise self._challenge(request, now, proxy, source, given.user, stale=True)
        if not self._is_right(given, request.method):
            raise self._challenge(request, now, proxy, source, given.user, failed=True)
        if not self._is_fresh(stamp, given, request, now):
            raise self._challenge(request, now, proxy, source, given.user, stale=True)
        return given.user

    def _credentials(self, request: Request, key: bytes) -> Credentials | None:
        """Return the credentials for our realm: of several, those for the algorithm that we prefer (RFC 3261 §22.3)."""
        ours = []
        for index, found in enumerate(request.keys):
            if found == key:
                fields = digest.fields(request.lines[index].partition(b":")[2])
                if fields.get(b"realm") == self._realm:
                    ours.append(digest.credentials(fields))
        rank = {name: place for place, name in enumerate(self._order)}
        return min(ours, key=lambda given: rank.get(given.algorithm, len(rank)), default=None)

    def _challenge(
        self,
        request: Request,
        now: float,
        proxy: bool,
        source: bytes,
        user: bytes | None = None,
        failed: bool = False,
        stale: bool = False,
        nonce: bytes = b"",
    ) -> Challenge:
        """Return a challenge with this nonce, or a new one, and a header for each algorithm (RFC 8760 §2.3).

        It offers the algorithms that From's user (of a REGISTER, To's) has an HA1 for, and all to a name that is not in
        the table. So a table where some have fewer tells a stranger that those exist; with all algorithms for everybody
        nothing but the nonce differs.
        """
        nonce = nonce or self._nonce(now, source)
        known = self._users.get(_asked_for(request) or b"", {})
        offered = [name for name in self._order if name in known] or self._order
        name = b"Proxy-Authenticate" if proxy else b"WWW-Authenticate"
        headers = tuple((name, digest.challenge(self._realm, nonce, algorithm, stale)) for algorithm in offered)
        return Challenge(407 if proxy else 401, headers, user, failed, stale)

    def _nonce(self, now: float, source: bytes) -> bytes:
        self._issued += 1
        stamp = int(now * 1000).to_bytes(_STAMP_BYTES, "big") + self._issued.to_bytes(_STAMP_BYTES, "big")
        return pack(stamp) + self._sign(stamp, source)

    def _nonce_again(self, request: Request, now: float, source: bytes) -> bytes:
        """Return the nonce that this request was given when it came before, as a retransmission is answered as it was
        the first time (RFC 3261 §8.2.7); a new one for another request."""
        asked = self._asked
        key = hash((source, request.header(b"via"), request.header(b"cseq")))
        asked_at, nonce = asked.get(key) or (0.0, b"")
        if asked_at + REPEATED_S <= now:
            if len(asked) >= MAX_REPEATED:
                asked.clear()
            nonce = self._nonce(now, source)
            asked[key] = now, nonce
        return nonce

    def _is_right(self, given: Credentials, method: bytes) -> bool:
        nobody = self._nobody.get(given.algorithm)
        if nobody is None:  # never offered
            return False
        known = self._users.get(given.user, {}).get(given.algorithm)
        expected = digest.response(
            given.algorithm, known or nobody, method, given.uri, given.nonce, given.nc, given.cnonce, given.qop
        )
        return compare_digest(given.response.lower(), expected) and known is not None

    def _is_fresh(self, stamp: bytes, given: Credentials, request: Request, now: float) -> bool:
        """Say whether right credentials come for the first time, or as a retransmission; and record their nonce."""
        expires_at = int.from_bytes(stamp[:_STAMP_BYTES], "big") / 1000 + self._lifetime_s
        serial = int.from_bytes(stamp[_STAMP_BYTES:], "big")
        if expires_at <= now:
            return False
        nc = ONCE if given.qop is None else int(given.nc, 16)
        # To be a retransmission every byte must be the same (RFC 3261 §17.1), the source that is stamped into the Via
        # among them: digest covers no Contact, and who overheard a REGISTER must not send it again with another one.
        return self._uses.accepts(serial, nc, blake2b(request.encode(), digest_size=FINGERPRINT_BYTES).digest())

    def _stamp(self, nonce: bytes, source: bytes) -> bytes | None:
        """Return what a nonce of this process says; None for any other."""
        try:
            stamp = unpack(nonce[:_STAMP_CHARS])
        except ValueError:
            return None
        return stamp if compare_digest(nonce, pack(stamp) + self._sign(stamp, source)) else None

    def _sign(self, stamp: bytes, source: bytes) -> bytes:
        return self._signer.sign(b"nonce", self._began or b"", stamp, source)


def names_target(given: bytes, request_uri: bytes) -> bool:
    """Say whether the `uri` of credentials stands for a Request-URI.

    RFC 7616 §3.4.6 wants the same resource; RFC 3261 §22.4 does not call it a failure when the two differ. The same
    bytes do, and so do the same scheme, host and port, with the same user or with none, whatever the parameters: SIPp
    writes "sip:host:port", and phones leave out parameters or the port 5060. Another user or host is refused: what was
    computed for one target must not open another.
    """
    if given == request_uri:
        return True
    try:
        named, target = parse_uri(given), parse_uri(request_uri)
    except SipError:
        return False
    is_same_host = named.address[1] == target.address[1] and named.host.lower() == target.host.lower()
    return is_same_host and named.scheme.lower() == target.scheme.lower() and named.user in {None, target.user}


def _asked_for(request: Request) -> bytes | None:
    """Return the user whom a request claims to come from; in a REGISTER that is To's (RFC 3261 §10.2)."""
    key = b"to" if request.method == b"REGISTER" else b"from"
    try:
        return parse_name_addr(request.header(key) or b"").parsed().user
    except SipError:
        return None
