"""A fixed mix of messages through the proxy's engine, as two phones would send them: what does each cost?

`mix.py --count` prints instructions a message, by valgrind; `mix.py --time [GAP_MS]` microseconds, one message after
the other or with idle milliseconds before each: then a processor finds its caches cold. Both as JSON. Nothing here is
random, and the time is an argument, so a count depends on the code alone: on that of the engine, and of Python.

An instruction count is a difference twice over: of a process that is warm and goes on to do a thing many times, and one
that is as warm and does nothing more; and of a chain of messages and the same chain without its last one, because a 180
can only be had after its INVITE.
"""

from __future__ import annotations

import compileall
import gc
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from py_compile import PycInvalidationMode

from proxy.core.auth import Authenticator
from proxy.core.effects import Effect, Send
from proxy.core.engine import Engine, Policy
from proxy.core.flow import Flow
from proxy.core.listeners import Listener, Listeners
from proxy.core.location import Location
from proxy.core.remedies import Remedies
from proxy.core.route import MappedUser, Router
from proxy.core.signer import Signer

CHAINS = {
    "call": ("INVITE", "180", "200", "ACK", "BYE", "200 (BYE)", "end of transactions"),
    "register": ("REGISTER", "REGISTER with password"),
    "options": ("OPTIONS",),
}
WARM, TIMES = 8, 64  # for instructions: how often all chains are done before, and the counted one after that
TIME_WARM, TIME_TIMES, GAP_TIMES = 300, 4000, 400  # the same for microseconds; the last with idleness between
LINGER_S = 40.0  # longer than the longest timer of a transaction, 64*T1 = 32 s
GC, COMPILER = (10_000, 100, 1_000_000), "threshold=200,function_threshold=300,trace_eagerness=40"  # as proxy.serve has
KEY, REALM, PASSWORD = b"k" * 32, b"example.org", b"secret"
PROXY, ALICE, BOB = ("198.18.0.1", 5060), ("198.18.0.2", 40_000), ("198.18.0.3", 5060)
SDP = (
    b"v=0\r\no=user 53655765 2353687637 IN IP4 10.0.0.5\r\ns=-\r\nc=IN IP4 10.0.0.5\r\nt=0 0\r\n"
    b"m=audio 6000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\n"
)

# What is counted is a copy, compiled once: whoever edits meanwhile would have some processes compile, and others not.
COPY = "/tmp/counted"
ENVIRONMENT = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": COPY, "PYTHONDONTWRITEBYTECODE": "1"}


class Mix:
    """An engine and two phones. Alice is behind a NAT, Bob is not."""

    def __init__(self, is_timed: bool = False, gap_s: float = 0) -> None:
        sink: list[Effect] = []
        remedies, signer = Remedies(), Signer(KEY)
        listeners, location = Listeners([Listener("udp", PROXY)]), Location(sink)
        router = Router(listeners, ["example.org"], {"bob": MappedUser(*BOB)}, location, remedies, signer)
        users = {b"carol": {"MD5": md5(b"carol:%b:%b" % (REALM, PASSWORD)).hexdigest().encode()}}
        authenticator = Authenticator(REALM, users, ["MD5"], signer)
        self.engine = Engine(listeners, router, location, sink, signer, Policy(keepalive_s=0), authenticator)
        self.now, self.number = 1e9, 0
        self.times: dict[str, list[float]] | None = {} if is_timed else None
        self.gap_s = gap_s

    def play(self, chain: str, length: int) -> None:
        """Do the first messages of a chain once."""
        self.number += 1
        {"call": self._call, "register": self._register, "options": self._options}[chain](length)

    def _receive(self, kind: str, data: bytes, source: tuple[str, int]) -> list[bytes]:
        """Give one message to the engine; return what it sends."""
        flow = Flow("udp", PROXY, source)
        self.now += 0.0005
        if self.gap_s:
            time.sleep(self.gap_s)  # the idleness that is measured
        began = time.perf_counter()
        effects = self.engine.receive(data, flow, self.now)
        if self.times is not None:
            self.times.setdefault(kind, []).append(time.perf_counter() - began)
        return [effect.data for effect in effects if isinstance(effect, Send)]

    def _call(self, length: int) -> None:
        n = self.number
        forwarded = self._receive("INVITE", self._invite(n), ALICE)[-1]
        if length == 1:
            return
        tag = b"b%d" % n
        self._receive("180", answer(forwarded, b"180 Ringing", tag), BOB)
        if length == 2:
            return
        accepted = self._receive("200", answer(forwarded, b"200 OK", tag, SDP), BOB)[0]
        if length == 3:
            return
        self._receive("ACK", self._within(accepted, n, b"ACK", 1), ALICE)
        if length == 4:
            return
        bye = self._receive("BYE", self._within(accepted, n, b"BYE", 2), ALICE)[-1]
        if length == 5:
            return
        self._receive("200 (BYE)", answer(bye, b"200 OK", b""), BOB)
        if length == 6:
            return
        self.now += LINGER_S
        began = time.perf_counter()
        self.engine.handle_timer(self.now)
        if self.times is not None:
            self.times.setdefault("end of transactions", []).append(time.perf_counter() - began)

    def _register(self, length: int) -> None:
        n = self.number
        challenged = self._receive("REGISTER", self._registration(n, 1, b""), ALICE)[0]
        if length == 1:
            return
        given = re.search(rb'nonce="([^"]+)"', challenged)
        assert given is not None, challenged
        ha1 = md5(b"carol:%b:%b" % (REALM, PASSWORD)).hexdigest().encode()
        ha2 = md5(b"REGISTER:sip:example.org").hexdigest().encode()
        response = md5(b"%b:%b:00000001:c:auth:%b" % (ha1, given[1], ha2)).hexdigest().encode()
        credentials = (
            b'Authorization: Digest username="carol",realm="%b",nonce="%b",uri="sip:example.org",response="%b",'
            b'algorithm=MD5,qop=auth,nc=00000001,cnonce="c"\r\n' % (REALM, given[1], response)
        )
        granted = self._receive("REGISTER with password", self._registration(n, 2, credentials), ALICE)[0]
        assert granted.startswith(b"SIP/2.0 200"), granted

    def _options(self, length: int) -> None:
        n = self.number
        self._receive(
            "OPTIONS",
            b"OPTIONS sip:198.18.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.5:5060;rport;branch=z9hG4bKo%d\r\n"
            b"From: <sip:asker@10.0.0.5>;tag=o%d\r\nTo: <sip:198.18.0.1:5060>\r\nCall-ID: o%d@10.0.0.5\r\n"
            b"CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nUser-Agent: SIPp\r\nContent-Length: 0\r\n\r\n" % (n, n, n),
            ALICE,
        )

    def _invite(self, n: int) -> bytes:
        return (
            b"INVITE sip:bob@198.18.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.5:5060;rport;branch=z9hG4bKi%d\r\n"
            b"From: <sip:alice@10.0.0.5>;tag=a%d\r\nTo: <sip:bob@198.18.0.1:5060>\r\nCall-ID: %d@10.0.0.5\r\n"
            b"CSeq: 1 INVITE\r\nContact: <sip:alice@10.0.0.5:5060>\r\nMax-Forwards: 70\r\nUser-Agent: SIPp\r\n"
            b"Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%b"
            % (n, n, n, len(SDP), SDP)
        )

    def _within(self, accepted: bytes, n: int, method: bytes, cseq: int) -> bytes:
        """A request of Alice's within the dialog that a 200 has opened."""
        target = lines_of(accepted, b"contact")[0].partition(b":")[2].strip().strip(b"<>")
        routes = [b"Route:%b" % line.partition(b":")[2] for line in lines_of(accepted, b"record-route")]
        lines = [
            b"%b %b SIP/2.0" % (method, target),
            b"Via: SIP/2.0/UDP 10.0.0.5:5060;rport;branch=z9hG4bK%b%d" % (method, n),
            *routes, *lines_of(accepted, b"from", b"to"), b"Call-ID: %d@10.0.0.5" % n, b"CSeq: %d %b" % (cseq, method),
            b"Max-Forwards: 70", b"User-Agent: SIPp", b"Content-Length: 0", b"", b"",
        ]  # fmt: skip
        return b"\r\n".join(lines)

    def _registration(self, n: int, cseq: int, credentials: bytes) -> bytes:
        return (
            b"REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.5:5060;rport;branch=z9hG4bKr%d-%d\r\n"
            b"From: <sip:carol@example.org>;tag=r%d\r\nTo: <sip:carol@example.org>\r\nCall-ID: r%d@10.0.0.5\r\n"
            b"CSeq: %d REGISTER\r\n%bContact: <sip:carol@10.0.0.5:5060>\r\nMax-Forwards: 70\r\nExpires: 3600\r\n"
            b"User-Agent: SIPp\r\nContent-Length: 0\r\n\r\n" % (n, cseq, n, n, cseq, credentials)
        )


def lines_of(message: bytes, *names: bytes) -> list[bytes]:
    """Return the header lines of these names, which are given in lower case."""
    lines = message.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return [line for line in lines if line.partition(b":")[0].strip().lower() in names]


def answer(request: bytes, status: bytes, tag: bytes, body: bytes = b"") -> bytes:
    """Return Bob's answer."""
    lines = [b"SIP/2.0 %b" % status, *lines_of(request, b"via", b"record-route", b"from", b"call-id", b"cseq")]
    to = lines_of(request, b"to")[0]
    lines.append(to if b";tag=" in to else b"%b;tag=%b" % (to, tag))
    if tag:
        lines.append(b"Contact: <sip:bob@198.18.0.3:5060>")
    if body:
        lines.append(b"Content-Type: application/sdp")
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


def settle() -> None:
    """Do with CPython's garbage collector what the proxy does when it has started."""
    gc.collect()
    if platform.python_implementation() == "CPython":
        gc.freeze()
        gc.set_threshold(*GC)


def hasten() -> None:
    """Do with PyPy's compiler what the proxy does when it starts."""
    if platform.python_implementation() == "PyPy":
        import pypyjit  # type: ignore[import-not-found]  # PyPy's own

        pypyjit.set_param(COMPILER)


def instructions(chain: str, length: int) -> int:
    """Return the instructions of a whole process that, once it is warm, does the first messages of a chain."""
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command(chain, length)],
        capture_output=True, text=True, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or counted is None:
        sys.exit(f"valgrind: {' '.join(done.stderr.strip().splitlines()[-3:])}")
    return int(counted[1])


def command(chain: str, length: int) -> list[str]:
    """Return the command line of such a process."""
    return [sys.executable, __file__, chain, str(length)]


def count() -> dict[str, int]:
    """Return the instructions of each message."""
    shutil.copytree(f"{os.environ['PYTHONPATH']}/proxy", f"{COPY}/proxy", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(COPY, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    runs = [(chain, length) for chain, messages in CHAINS.items() for length in range(1, len(messages) + 1)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        nothing, *totals = pool.map(lambda run: instructions(*run), [("call", 0), *runs])
    found, before = {}, nothing
    for (chain, length), total in zip(runs, totals, strict=True):
        if length == 1:
            before = nothing
        found[CHAINS[chain][length - 1]] = round((total - before) / TIMES)
        before = total
    return found


def microseconds(gap_s: float) -> dict[str, float]:
    """Return the microseconds of each message, after so long an idleness: the median."""
    hasten()
    mix = Mix(is_timed=True, gap_s=gap_s)
    for number in range(TIME_WARM + (GAP_TIMES if gap_s else TIME_TIMES)):
        if number == TIME_WARM and mix.times is not None:
            mix.times.clear()
            settle()
        for chain, messages in CHAINS.items():
            mix.play(chain, len(messages))
    return {name: round(1e6 * statistics.median(values), 2) for name, values in (mix.times or {}).items()}


def main() -> None:
    """Do what the arguments say."""
    if sys.argv[1] == "--count":
        print(json.dumps({"python": platform.python_version(), "instructions": count()}))
    elif sys.argv[1] == "--time":
        print(json.dumps(microseconds(float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0)))
    else:
        chain, length = sys.argv[1], int(sys.argv[2])
        mix = Mix()
        for _ in range(WARM):
            for each, messages in CHAINS.items():
                mix.play(each, len(messages))
        settle()
        gc.disable()  # one run would collect once, and another that allocates a little less would not
        for _ in range(TIMES if length else 0):
            mix.play(chain, length)
        os._exit(0)  # what is left is not taken apart: that would hide what it costs to do so in time


if __name__ == "__main__":
    main()
