"""Digest authentication: a phone with a calculator of its own against the authenticator, and what must not pass."""

from __future__ import annotations

import hashlib
import pickle
import re
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core import auth as authentication
from proxy.core.auth import WINDOW, Authenticator, Challenge, Use, Uses, names_target
from proxy.core.signer import Signer
from proxy.sip.digest import NoAlgorithm
from proxy.sip.errors import SipError
from proxy.sip.message import Request
from proxy.sip.parse import parse
from tests.flows.ladder import KEY, Phone, alice, bob

REALM = b"example.org"
HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
ALL = tuple(HASHES)
NOW = 1_700_000_000.25
NASTY = settings(max_examples=400, deadline=None, database=None, derandomize=True)
URI = b"sip:bob@198.51.100.10"
PASSWORDS = {b"alice": b"open sesame", b"bob": b"hunter2"}


def hashed(algorithm: str, *parts: bytes) -> bytes:
    """H of the parts with colons between them, computed without the proxy's help."""
    return hashlib.new(HASHES[algorithm], b":".join(parts)).hexdigest().encode()


def table(**algorithms: tuple[str, ...]) -> Mapping[bytes, Mapping[str, bytes]]:
    """Return both users; all algorithms for those that are not named."""
    return {
        user: {name: hashed(name, user, REALM, word) for name in algorithms.get(user.decode(), ALL)}
        for user, word in PASSWORDS.items()
    }


def authenticator(order: tuple[str, ...] = ALL, key: bytes = KEY, max_nonces: int = 20_000) -> Authenticator:
    return Authenticator(REALM, table(), order, Signer(key), 300, max_nonces)


def request(data: bytes) -> Request:
    message = parse(data)
    assert isinstance(message, Request)
    return message


def param(challenge: bytes, name: bytes) -> bytes | None:
    found = re.search(rb'\b%b="?([^",]*)' % name, challenge)
    return None if found is None else found[1]


@dataclass(slots=True)
class Caller:
    """A phone that answers challenges."""

    phone: Phone = field(default_factory=alice)
    user: bytes = b"alice"
    password: bytes = b"open sesame"
    realm: bytes = REALM
    uri: bytes = URI

    def credentials(
        self, nonce: bytes, nc: int | None = 1, algorithm: str = "MD5", method: bytes = b"INVITE", qop: bytes = b"auth"
    ) -> bytes:
        """Return a header line; without nc, the form of RFC 2069."""
        ha1 = hashed(algorithm, self.user, self.realm, self.password)
        ha2 = hashed(algorithm, method, self.uri)
        count = b"" if nc is None else b"%08x" % nc
        middle = (nonce,) if nc is None else (nonce, count, b"cn", qop)
        line = b'Proxy-Authorization: Digest username="%b",realm="%b",nonce="%b",uri="%b"' % (
            self.user, self.realm, nonce, self.uri,
        )  # fmt: skip
        line += b',response="%b",algorithm=%b' % (hashed(algorithm, ha1, *middle, ha2), algorithm.encode())
        return line if nc is None else b'%b,qop=%b,nc=%b,cnonce="cn"' % (line, qop, count)

    def invite(self, *lines: bytes) -> Request:
        """Return the next INVITE."""
        return request(self.phone.request(b"INVITE", URI, *lines))


def refusal(auth: Authenticator, asked: Request, now: float = NOW, proxy: bool = True) -> Challenge:
    with pytest.raises(Challenge) as caught:
        auth.check(asked, now, proxy=proxy)
    return caught.value


def nonce_of(challenge: Challenge) -> bytes:
    return param(challenge.headers[0][1], b"nonce") or b""


ASKER = Caller()  # whose requests differ from one another


def nonce_from(auth: Authenticator, now: float = NOW) -> bytes:
    return nonce_of(refusal(auth, ASKER.invite(), now))


def told(challenge: Challenge) -> tuple[bytes | None, bool, bool]:
    """Return what a caller of `check` sees; and be sure that the wire says the same of stale."""
    assert all((param(value, b"stale") == b"true") == challenge.stale for _, value in challenge.headers)
    return challenge.user, challenge.failed, challenge.stale


# The way in


def test_a_request_without_credentials_is_asked_for_them_once_per_algorithm() -> None:
    challenge = refusal(authenticator(("SHA-256", "MD5")), Caller().invite())
    assert (challenge.status, challenge.reason) == (407, b"Proxy Authentication Required")
    assert told(challenge) == (None, False, False)
    assert [name for name, _ in challenge.headers] == [b"Proxy-Authenticate"] * 2
    for (_, value), algorithm in zip(challenge.headers, (b"SHA-256", b"MD5"), strict=True):
        assert value == b'Digest realm="example.org", nonce="%b", algorithm=%b, qop="auth"' % (
            nonce_of(challenge), algorithm,
        )  # fmt: skip


@pytest.mark.parametrize("algorithm", ALL)
def test_who_answers_the_challenge_is_let_in(algorithm: str) -> None:
    auth, caller = authenticator(), Caller()
    nonce = nonce_of(refusal(auth, caller.invite()))
    assert auth.check(caller.invite(caller.credentials(nonce, algorithm=algorithm)), NOW, proxy=True) == b"alice"


def test_a_registrar_asks_with_401_and_reads_the_other_header() -> None:
    auth, phone = authenticator(), alice()
    caller = Caller(phone, uri=b"sip:198.51.100.10")
    challenge = refusal(auth, request(phone.register()), proxy=False)
    assert (challenge.status, challenge.headers[0][0]) == (401, b"WWW-Authenticate")
    line = caller.credentials(nonce_of(challenge), method=b"REGISTER")
    assert told(refusal(auth, request(phone.register(line)), proxy=False)) == (None, False, False)
    line = line.removeprefix(b"Proxy-")
    assert told(refusal(auth, request(phone.register(line)), proxy=True)) == (None, False, False)
    assert auth.check(request(phone.register(line)), NOW, proxy=False) == b"alice"


def test_every_challenge_has_a_nonce_of_its_own() -> None:
    auth = authenticator()
    nonces = [nonce_from(auth) for _ in range(100)]
    assert len(set(nonces)) == 100
    assert all(re.fullmatch(rb"[A-Za-z0-9_-]{32}", nonce) for nonce in nonces)


def test_a_user_is_offered_what_the_table_has_for_him_and_a_stranger_all() -> None:
    auth = Authenticator(REALM, table(alice=("MD5",), bob=()), ALL, Signer(KEY))

    def offered(data: bytes) -> list[bytes | None]:
        return [param(value, b"algorithm") for _, value in refusal(auth, request(data)).headers]

    everything = [name.encode() for name in ALL]
    assert offered(alice().request(b"INVITE", URI)) == [b"MD5"]
    assert offered(alice().request(b"REGISTER", b"sip:198.51.100.10", to=b"<sip:carol@x>")) == everything
    assert offered(bob().request(b"REGISTER", b"sip:198.51.100.10", to=b"<sip:alice@x>")) == [b"MD5"]
    assert offered(bob().request(b"INVITE", URI)) == everything  # in the table, but with nothing that is on offer
    assert offered(alice().request(b"INVITE", URI).replace(b"From: <sip:alice@", b"From: <tel:alice@")) == everything


def test_a_stranger_and_a_wrong_password_get_the_same_answer_but_for_the_nonce() -> None:
    auth = authenticator()
    answers = []
    for caller in (Caller(password=b"wrong"), Caller(Phone("carol", ("10.0.0.9", 1), ("10.0.0.9", 1)), b"carol")):
        challenge = refusal(auth, caller.invite(caller.credentials(nonce_from(auth))))
        assert told(challenge) == (caller.user, True, False)
        answers.append([value.replace(nonce_of(challenge), b"") for _, value in challenge.headers])
    assert answers[0] == answers[1]


def test_who_knows_what_strangers_are_compared_with_is_a_stranger_still() -> None:
    secret = Signer(KEY).sign(b"nobody")
    auth, caller = authenticator(), Caller(user=b"", password=secret)
    assert told(refusal(auth, caller.invite(caller.credentials(nonce_from(auth))))) == (b"", True, False)


# Wrong credentials


@pytest.mark.parametrize("algorithm", ALL)
@pytest.mark.parametrize("place", [0, 31, -1])
def test_one_wrong_digit_of_the_response_is_a_failure(algorithm: str, place: int) -> None:
    auth, caller = authenticator(), Caller()
    line = caller.credentials(nonce_from(auth), algorithm=algorithm)
    digits = bytearray(param(line, b"response") or b"")
    digits[place] = ord("0") if digits[place] != ord("0") else ord("1")
    wrong = line.replace(param(line, b"response") or b"", bytes(digits))
    assert told(refusal(auth, caller.invite(wrong))) == (b"alice", True, False)
    assert auth.check(caller.invite(line), NOW, proxy=True) == b"alice"


@pytest.mark.parametrize("response", [b"", b"0" * 31, b"0" * 64, b"\xff" * 32])
def test_a_response_of_any_other_shape_is_a_failure(response: bytes) -> None:
    auth, caller = authenticator(), Caller()
    line = caller.credentials(nonce_from(auth))
    line = line.replace(param(line, b"response") or b"", response)
    assert told(refusal(auth, caller.invite(line))) == (b"alice", True, False)


@pytest.mark.parametrize("algorithm", [b"SHA-256", b"MD5-sess", b"SHA-1", b"\xff"])
def test_an_algorithm_that_was_not_offered_is_a_failure(algorithm: bytes) -> None:
    auth, caller = authenticator(("MD5",)), Caller()
    line = caller.credentials(nonce_from(auth)).replace(b"algorithm=MD5", b"algorithm=" + algorithm)
    assert told(refusal(auth, caller.invite(line))) == (b"alice", True, False)


def test_an_algorithm_that_this_user_has_no_password_for_is_a_failure() -> None:
    auth, caller = Authenticator(REALM, table(alice=("MD5",)), ALL, Signer(KEY)), Caller()
    line = caller.credentials(nonce_from(auth), algorithm="SHA-256")
    assert told(refusal(auth, caller.invite(line))) == (b"alice", True, False)


def test_a_wrong_password_for_an_old_nonce_is_a_failure_and_not_stale() -> None:
    auth, caller = authenticator(), Caller(password=b"wrong")
    line = caller.credentials(nonce_from(auth))
    assert told(refusal(auth, caller.invite(line), NOW + 1000)) == (b"alice", True, False)


def test_the_response_for_one_method_is_worth_nothing_for_another() -> None:
    auth, caller = authenticator(), Caller()
    line = caller.credentials(nonce_from(auth), method=b"OPTIONS")
    assert told(refusal(auth, caller.invite(line))) == (b"alice", True, False)


def test_integrity_protection_is_declined_without_counting_as_a_failure() -> None:
    auth, caller = authenticator(), Caller()
    challenge = refusal(auth, caller.invite(caller.credentials(nonce_from(auth), qop=b"auth-int")))
    assert told(challenge) == (b"alice", False, False)
    assert param(challenge.headers[0][1], b"qop") == b"auth"


def test_credentials_for_another_realm_or_scheme_are_not_ours_to_judge() -> None:
    auth, caller = authenticator(), Caller()
    other = Caller(realm=b"example.com", password=b"x").credentials(b"n")
    basic = b"Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert told(refusal(auth, caller.invite(other, basic))) == (None, False, False)
    mine = caller.credentials(nonce_from(auth))
    assert auth.check(caller.invite(other, basic, mine, other), NOW, proxy=True) == b"alice"


def test_of_several_credentials_for_us_those_for_the_preferred_algorithm_count() -> None:
    auth, caller = authenticator(("SHA-256", "MD5")), Caller()
    good, bad = caller.credentials(nonce_from(auth), algorithm="SHA-256"), caller.credentials(b"n")
    unknown = bad.replace(b"algorithm=MD5", b"algorithm=SHA-1")
    assert auth.check(caller.invite(unknown, bad, good), NOW, proxy=True) == b"alice"


@pytest.mark.parametrize(
    "line",
    [
        b'Proxy-Authorization: Digest username="alice',
        b'Proxy-Authorization: Digest username="alice", realm="example.org"',
        b'Proxy-Authorization: Digest username="alice", username="bob", realm="example.org"',
        b'Proxy-Authorization: Digest username*=UTF-8\'\'alice, realm="example.org", nonce="", uri="", response=""',
        b"proxy-authorization: Digest",
    ],
)
def test_malformed_credentials_are_a_400_and_no_challenge(line: bytes) -> None:
    with pytest.raises(SipError) as caught:
        authenticator().check(Caller().invite(line), NOW, proxy=True)
    assert caught.value.status == 400
    assert not isinstance(caught.value, Challenge)


@pytest.mark.parametrize(
    "uri", [b"sip:198.51.100.10", b"SIP:198.51.100.10:5060", b"sip:bob@198.51.100.10:5060;transport=udp", URI]
)
def test_the_uri_may_be_written_as_sipp_and_phones_do(uri: bytes) -> None:
    auth, caller = authenticator(), Caller(uri=uri)
    assert auth.check(caller.invite(caller.credentials(nonce_from(auth))), NOW, proxy=True) == b"alice"


@pytest.mark.parametrize(
    "uri",
    [
        b"", b"*", b"/", b"bob", b"tel:+1", b"sip:carol@198.51.100.10", b"sip:198.51.100.11", b"sip:198.51.100.10:5061",
        b"sips:bob@198.51.100.10:5060", b"sip:bob@198.51.100.10:99999", b"sip:Bob@198.51.100.10", b"\xff",
    ],
)  # fmt: skip
def test_credentials_for_another_uri_are_refused_whoever_computed_them(uri: bytes) -> None:
    auth, caller = authenticator(), Caller(uri=uri)
    with pytest.raises(SipError, match="400 Digest URI Differs"):
        auth.check(caller.invite(caller.credentials(nonce_from(auth))), NOW, proxy=True)


def test_a_uri_of_any_scheme_is_the_same_as_itself() -> None:
    assert names_target(b"tel:+1", b"tel:+1")
    assert names_target(b"sip:EXAMPLE.org", b"sip:bob@example.ORG:5060")
    assert not names_target(b"sip:bob@example.org", b"sip:example.org")


# Once and not again


def test_a_response_that_was_overheard_opens_nothing() -> None:
    auth, caller = authenticator(), Caller()
    line = caller.credentials(nonce_from(auth))
    first = caller.invite(line)
    auth.check(first, NOW, proxy=True)
    again = refusal(auth, caller.invite(line))
    assert told(again) == (b"alice", False, True)
    assert nonce_of(again) not in line
    assert auth.check(caller.invite(caller.credentials(nonce_of(again))), NOW, proxy=True) == b"alice"


@pytest.mark.parametrize("nc", [1, None])
def test_the_same_bytes_again_are_a_retransmission_and_one_other_byte_is_a_replay(nc: int | None) -> None:
    auth, phone = authenticator(), alice()
    caller = Caller(phone, uri=b"sip:198.51.100.10")
    line = caller.credentials(nonce_from(auth), nc, method=b"REGISTER").removeprefix(b"Proxy-")
    data = phone.register(line)
    for _ in range(3):
        assert auth.check(request(data), NOW + 1, proxy=False) == b"alice"
    stolen = data.replace(b"Contact: <sip:alice@10.77.1.100", b"Contact: <sip:alice@198.51.100.66")
    assert stolen != data
    assert told(refusal(auth, request(stolen), NOW + 1, proxy=False)) == (b"alice", False, True)
    moved = data.replace(b";rport", b";rport=666;received=198.51.100.66")  # as stamped for another source
    assert told(refusal(auth, request(moved), NOW + 1, proxy=False)) == (b"alice", False, True)
    assert auth.check(request(data), NOW + 1, proxy=False) == b"alice"


def test_one_nonce_serves_many_requests_and_late_ones_within_the_window_once() -> None:
    auth, caller = authenticator(), Caller()
    nonce = nonce_from(auth)

    def is_accepted(nc: int) -> bool:
        try:
            return auth.check(caller.invite(caller.credentials(nonce, nc)), NOW, proxy=True) == b"alice"
        except Challenge as challenge:
            refused = challenge
        assert told(refused) == (b"alice", False, True)
        return False

    assert all(is_accepted(nc) for nc in (2, 3, 5))
    assert [is_accepted(nc) for nc in (4, 1, 4, 1, 5, 3, 0)] == [True, True, False, False, False, False, True]
    assert is_accepted(5 + WINDOW)
    assert not is_accepted(5)
    assert is_accepted(6)
    assert is_accepted(0xFFFFFFFF)
    assert not is_accepted(7 + WINDOW)


@NASTY
@given(st.lists(st.integers(0, 100), max_size=200))
def test_no_count_is_ever_accepted_twice_and_all_within_the_window_are_once(counts: list[int]) -> None:
    use, accepted = Use(counts[0] if counts else 0, 1, b""), set(counts[:1])
    for number, nc in enumerate(counts[1:]):
        is_due = nc not in accepted and nc >= max(accepted) - WINDOW
        assert use.accepts(nc, b"%d" % number) == is_due
        if is_due:
            accepted.add(nc)


def test_a_count_far_ahead_costs_no_memory() -> None:
    use = Use(0, 1, b"")
    tracemalloc.start()
    try:
        assert use.accepts(0xFFFFFFFF, b"x")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20  # bytes; a bit for each count would take 512 MiB
    finally:
        tracemalloc.stop()


def test_without_qop_a_nonce_is_used_up_at_once() -> None:
    auth, caller = authenticator(), Caller()
    nonce = nonce_from(auth)
    auth.check(caller.invite(caller.credentials(nonce, None)), NOW, proxy=True)
    for nc in (None, 1, 0xFFFFFFFF):
        assert told(refusal(auth, caller.invite(caller.credentials(nonce, nc)))) == (b"alice", False, True)


def test_a_failure_does_not_use_a_nonce_up() -> None:
    auth, caller = authenticator(), Caller()
    nonce = nonce_from(auth)
    wrong = Caller(password=b"wrong")
    refusal(auth, wrong.invite(wrong.credentials(nonce)))
    assert auth.check(caller.invite(caller.credentials(nonce)), NOW, proxy=True) == b"alice"


@pytest.mark.parametrize("is_used", [True, False])
def test_a_nonce_ends_with_its_lifetime(is_used: bool) -> None:
    auth, caller = authenticator(), Caller()
    nonce = nonce_from(auth)
    if is_used:
        auth.check(caller.invite(caller.credentials(nonce, 1)), NOW, proxy=True)
    assert auth.check(caller.invite(caller.credentials(nonce, 2)), NOW + 299.9, proxy=True) == b"alice"
    assert told(refusal(auth, caller.invite(caller.credentials(nonce, 3)), NOW + 300)) == (b"alice", False, True)


def test_a_request_that_comes_again_is_challenged_as_it_was_the_first_time() -> None:
    """RFC 3261 §8.2.7: who keeps no transaction gives the same answer to a retransmission."""
    auth, caller = authenticator(), Caller()
    sent, other = caller.invite(), caller.invite()
    assert (sent.header(b"via"), sent.header(b"cseq")) != (other.header(b"via"), other.header(b"cseq"))
    first = refusal(auth, sent)
    assert refusal(auth, sent, NOW + 0.5).headers == first.headers
    assert refusal(auth, other, NOW + 0.5).headers != first.headers
    assert refusal(auth, sent, NOW + 33).headers != first.headers  # nobody repeats it any more


def test_another_sender_or_transaction_is_given_another_nonce() -> None:
    auth, caller = authenticator(), Caller()
    sent = caller.invite()
    other = request(sent.encode().replace(b"branch=", b"branch=z9hG4bKother-"))
    assert (sent.header(b"cseq"), sent.header(b"via")) != (other.header(b"cseq"), other.header(b"via"))
    nonces = set()
    for asked, source in ((sent, b"198.51.100.20"), (sent, b"198.51.100.21"), (other, b"198.51.100.20")):
        with pytest.raises(Challenge) as caught:
            auth.check(asked, NOW, proxy=True, source=source)
        nonces.add(nonce_of(caught.value))
    assert len(nonces) == 3


def test_of_requests_that_may_come_again_no_more_are_remembered_than_a_stranger_may_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(authentication, "MAX_REPEATED", 10)
    auth = authenticator()
    for _ in range(100):
        nonce_from(auth)
        assert len(auth._asked) <= 10


def test_a_request_that_may_come_again_is_remembered_in_few_bytes_however_long_it_is() -> None:
    auth = authenticator()
    for number in range(10):
        data = ASKER.invite().encode().replace(b"branch=", b"x%d=%b;branch=" % (number, b"y" * 50_000))
        refusal(auth, request(data))
    assert len(auth._asked) == 10
    assert len(pickle.dumps(auth._asked)) < 10 * 200


def test_a_nonce_of_the_process_before_this_one_is_stale_even_with_the_same_key() -> None:
    before, after, caller = authenticator(), authenticator(), Caller()
    line = caller.credentials(nonce_from(before))
    before.check(caller.invite(line), NOW, proxy=True)
    assert told(refusal(after, caller.invite(line), NOW + 0.001)) == (b"alice", False, True)


@pytest.mark.parametrize("nonce", [b"", b"A" * 32, b"=" * 32, b"\xff" * 32, b"!" * 32, b"A" * 5000])
def test_a_nonce_that_somebody_invented_is_stale(nonce: bytes) -> None:
    auth, caller = authenticator(), Caller()
    assert told(refusal(auth, caller.invite(caller.credentials(nonce)))) == (b"alice", False, True)


@pytest.mark.parametrize("place", range(32))
def test_a_nonce_with_one_letter_changed_is_stale(place: int) -> None:
    auth, caller = authenticator(), Caller()
    nonce = bytearray(nonce_from(auth))
    nonce[place] = ord("A") if nonce[place] != ord("A") else ord("B")
    assert told(refusal(auth, caller.invite(caller.credentials(bytes(nonce))))) == (b"alice", False, True)


def test_a_nonce_signed_with_another_key_is_stale() -> None:
    caller = Caller()
    line = caller.credentials(nonce_from(authenticator(key=bytes(32))))
    ours = authenticator()
    nonce_from(ours)
    assert told(refusal(ours, caller.invite(line))) == (b"alice", False, True)


def test_when_the_table_is_full_the_oldest_nonce_goes_and_can_not_be_replayed() -> None:
    auth, caller = authenticator(max_nonces=3), Caller()
    idle = nonce_from(auth)
    lines = [caller.credentials(nonce_from(auth)) for _ in range(4)]
    for line in lines:
        auth.check(caller.invite(line), NOW, proxy=True)
    replayed = [told(refusal(auth, caller.invite(line))) for line in lines]
    assert replayed == [(b"alice", False, True)] * 4
    # Never used, but older than what was dropped: for all we know it was. That costs one trip more.
    assert told(refusal(auth, caller.invite(caller.credentials(idle)))) == (b"alice", False, True)
    kept = [param(line, b"nonce") or b"" for line in lines[1:]]
    for nonce in kept:
        assert auth.check(caller.invite(caller.credentials(nonce, 2)), NOW, proxy=True) == b"alice"


def test_the_table_holds_no_more_than_its_limit() -> None:
    auth, caller = authenticator(max_nonces=5), Caller()
    nonces = [nonce_from(auth) for _ in range(20)]
    for nonce in nonces:
        auth.check(caller.invite(caller.credentials(nonce)), NOW, proxy=True)
    for nonce in nonces[:15]:
        assert refusal(auth, caller.invite(caller.credentials(nonce, 2))).stale
    for nonce in nonces[15:]:
        assert auth.check(caller.invite(caller.credentials(nonce, 2)), NOW, proxy=True) == b"alice"


def test_what_is_kept_of_nonces_takes_no_memory_as_they_come() -> None:
    uses = Uses(1000)
    assert uses.accepts(1, 1, bytes(16))
    tracemalloc.start()
    try:
        assert all(uses.accepts(serial, 1, bytes(16)) for serial in range(2, 5000))
        held = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, authentication.__file__)])
        assert sum(trace.size for trace in held.traces) < 2_000  # bytes; other threads of the process have theirs
    finally:
        tracemalloc.stop()


def test_a_clock_that_is_set_back_brings_no_nonce_back_to_life() -> None:
    auth, caller = authenticator(), Caller()
    line = caller.credentials(nonce_from(auth))
    auth.check(caller.invite(line), NOW, proxy=True)
    later = NOW + 300
    auth.check(caller.invite(caller.credentials(nonce_from(auth, later))), later, proxy=True)
    assert told(refusal(auth, caller.invite(line), NOW)) == (b"alice", False, True)


def test_other_users_are_taken_over_while_nonces_live_on() -> None:
    auth, caller = authenticator(), Caller()
    nonce = nonce_from(auth)
    auth.check(caller.invite(caller.credentials(nonce, 1)), NOW, proxy=True)
    auth.set_users({b"alice": {"MD5": hashed("MD5", b"alice", REALM, b"changed")}})
    assert told(refusal(auth, caller.invite(caller.credentials(nonce, 2)))) == (b"alice", True, False)
    changed = Caller(password=b"changed")
    assert auth.check(changed.invite(changed.credentials(nonce, 2)), NOW, proxy=True) == b"alice"
    assert refusal(auth, changed.invite(changed.credentials(nonce, 1))).stale


def test_an_algorithm_that_can_not_be_computed_is_told_at_the_start() -> None:
    with pytest.raises(NoAlgorithm, match="SHA-1"):
        authenticator(("MD5", "SHA-1"))


# Whatever comes

LIVE = authenticator()
LINE = Caller().credentials(nonce_from(LIVE))
PIECES = [b'"', b",", b"=", b"\\", b" ", b"\r\n ", b"\xff", b"realm", b"*", b"nc=", b"Digest ", b'realm="example.org"']


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """Return good credentials with some bytes removed or replaced."""
    line = LINE
    for _ in range(draw(st.integers(0, 3))):
        begin = draw(st.integers(0, len(line)))
        end = begin + draw(st.integers(0, 9))
        line = line[:begin] + draw(st.sampled_from(PIECES) | st.binary(max_size=5)) + line[end:]
    return line


@NASTY
@given(spoiled() | st.binary(max_size=80).map(lambda value: b"Proxy-Authorization: " + value), st.binary(max_size=20))
def test_arbitrary_headers_raise_nothing_but_sip_errors(line: bytes, sender: bytes) -> None:
    data = alice().request(b"INVITE", URI, line).replace(b"sip:alice@", sender)
    try:
        outcome: bytes | int = LIVE.check(request(data), NOW, proxy=True)
    except SipError as error:
        outcome = error.status
    assert outcome in {b"alice", 400, 407}
