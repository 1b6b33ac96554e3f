"""Writes what the fuzzers begin with: the torture messages, and a call, in the form that each target reads.

`python -m tests.fuzz.seeds FOLDER` fills FOLDER/parse and FOLDER/engine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.flows.ladder import MAPPED_BOB, Dialog, Ladder, alice, bob

TORTURE = Path(__file__).parents[1] / "data" / "torture"
SEPARATOR = b"\xf5\xf5"  # as in fuzz_engine
RELAYED = 5  # fuzz_engine.PROXIES
MEDIA_PORTS = range(30_000, 30_016, 2)  # as there
SDP = b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\nc=IN IP4 10.0.0.1\r\nm=audio 6000 RTP/AVP 0\r\n"
DATAGRAM, STREAM, WAIT, ANSWER, FAIL, LOCATE, ECHO, AGAIN = range(8)  # fuzz_engine.STEPS
VALUES = (
    b'"A \\" B" <sip:a%40b:pw@[2001:db8::1]:5070;transport=tcp;lr?Route=x>;tag=1;q=0.5',
    b"SIP / 2.0 / UDP [2001:db8::1] : 5060 ; rport ; branch=z9hG4bKx",
    b'Digest username="bob", realm="example.org", nonce="n", uri="sip:b", response="00", qop=auth, nc=00000001, '
    b'cnonce="c", algorithm=SHA-256',
    b"1 INVITE",
)


def steps(number: int, *each: tuple[int, int, bytes]) -> bytes:
    """Return an input of fuzz_engine: for which proxy, and what happens."""
    return bytes([number]) + SEPARATOR.join(bytes([what, more]) + data for what, more, data in each)


def calls() -> Iterator[bytes]:
    """Yield a call to Alice behind her router, as it goes well, is cancelled, fails, or is challenged."""
    home, far = alice(), bob()
    ladder = Ladder(mapping=MAPPED_BOB)
    register = home.register()
    ladder.send(register, home.seen)
    invite = far.request(b"INVITE", home.aor, b"Subject: x", call_id=b"seed", body=b"v=0\r\n")
    arrived = ladder.one(invite, far.seen)
    dialog = Dialog.of_caller(far, ladder.one(home.answer(arrived, 200), home.seen))
    ack, bye = dialog.request(b"ACK"), dialog.request(b"BYE", cseq=10)
    cancel = invite.replace(b"INVITE sip", b"CANCEL sip", 1).replace(b" INVITE\r\n", b" CANCEL\r\n")
    begin = ((DATAGRAM, 0, register), (DATAGRAM, 1, invite))
    for number in range(5):
        yield steps(number, *begin, (ANSWER, 0, b"\4"), (DATAGRAM, 1, ack), (DATAGRAM, 1, bye), (ANSWER, 0, b"\4"))
        yield steps(number, *begin, (ANSWER, 0, b"\1"), (DATAGRAM, 1, cancel), (ANSWER, 1, b"\x0d"), (WAIT, 5, b""))
        yield steps(number, *begin, (FAIL, 0, b""), (WAIT, 6, b""), (AGAIN, 0x10, b""))
        pieces = ((STREAM, 0, register[:99]), (STREAM, 0, register[99:]))
        yield steps(number, *pieces, (DATAGRAM, 1, invite), (ECHO, 0, b"\0\x50\x13;x"))
        named = (DATAGRAM, 0, invite.replace(home.aor, b"sip:x@name.example.net;transport=tcp"))
        yield steps(number, named, (LOCATE, 0, b"\0\1\2"), (FAIL, 0, b""), (ANSWER, 0, b"\7A: b\r\nC: d"))


def relayed() -> Iterator[bytes]:
    """Yield calls whose media comes through the proxy: answered, with early media, refused, changed, forked."""
    home, far = alice(), bob()
    kind = b"Content-Type: application/sdp"
    ladder = Ladder(mapping=MAPPED_BOB, relay=("always", MEDIA_PORTS), also=("2001:db8::10", 5060))
    register = home.register()
    ladder.send(register, home.seen)
    invite = far.request(b"INVITE", home.aor, kind, call_id=b"media", body=SDP)
    arrived = ladder.one(invite, far.seen)
    dialog = Dialog.of_caller(far, ladder.one(home.answer(arrived, 200, kind, body=SDP), home.seen))
    again, bye = dialog.request(b"INVITE", kind, cseq=10, body=SDP), dialog.request(b"BYE", cseq=11)
    begin = ((DATAGRAM, 0, register), (DATAGRAM, 1, invite))
    answered, early = (ANSWER, 0, b"\4S"), (ANSWER, 0, b"\2S")
    yield steps(RELAYED, *begin, early, answered, (DATAGRAM, 1, again), (ANSWER, 0, b"\x0bS"), (DATAGRAM, 1, bye))
    yield steps(RELAYED, *begin, early, (ANSWER, 0, b"\x0c"), (WAIT, 5, b""))
    yield steps(RELAYED, *begin, (FAIL, 0, b""), (DATAGRAM, 1, invite.replace(b"INVITE", b"UPDATE")), (WAIT, 5, b""))
    offerless = far.request(b"INVITE", home.aor, call_id=b"offerless")
    strange = b"\4" + SDP + b"c=\r\na=rtcp:30001 IN IP4 198.51.100.10\r\nm=video 9 RTP/AVP 31\r\nS"
    yield steps(RELAYED, begin[0], (DATAGRAM, 1, offerless), (ANSWER, 0, strange), (WAIT, 6, b""))


def inputs() -> dict[str, list[bytes]]:
    """Return what each target begins with."""
    messages = [path.read_bytes() for path in sorted(TORTURE.glob("rfc*/*.dat"))]
    parse = [bytes([kind]) + data for data in messages for kind in (0, 1)] + [b"\2" + value for value in VALUES]
    parse.append(b"\1" + b"\r\n\r\n".join(data for data in messages[:8]))
    engine = [steps(4, (DATAGRAM, 0, data), (ANSWER, 0, b"\4")) for data in messages] + [*calls(), *relayed()]
    return {"parse": parse, "engine": engine}


def main(folder: Path) -> None:
    """Write the seeds."""
    for name, seeds in inputs().items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(seeds):
            (folder / name / f"seed-{number:03}").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
