"""One load of media, in the pod of a system: calls with G.711 both ways, each packet counted and timed on its way.

`rtp.py JOB`, a JSON object with the fields of labkit/bench/load.py MediaJob. Speaks as sipp.py does: says {"ready":
true} when all calls are up, begins at the next line of standard input, says {"ended": true} and what was counted when
it has ended, hangs up, and lives until standard input ends.
"""

from __future__ import annotations

import json
import re
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator

HOST = "127.0.0.1"
SIP, CALLER, CALLEE = (HOST, 5060), (HOST, 5080), (HOST, 5070)
NG = (HOST, 2223)  # where rtpengine is told what to do
PACKET_S = 0.02  # G.711 in packets of 160 samples, as phones send it
SLOTS = 20  # in that time: packets of different calls do not come all at once
PAYLOAD = 160
HEADER = struct.Struct(">BBHIId")  # RTP's, and the time of sending in the payload's first bytes
FIRST_S = 2.0  # for what is still under way when the last packet was sent
ANSWER_S = 5.0


def described(port: int) -> str:
    """Return a session description: G.711 at a port of ours."""
    return (
        f"v=0\r\no=- 1 1 IN IP4 {HOST}\r\ns=-\r\nc=IN IP4 {HOST}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        "a=rtpmap:0 PCMU/8000\r\n"
    )


def port_of(sdp: str) -> int:
    """Return where the audio of a description is wanted."""
    found = re.search(r"^m=audio (\d+)", sdp, re.MULTILINE)
    if found is None:
        raise ValueError(f"no audio in {sdp!r}")
    return int(found[1])


def socket_at(address: tuple[str, int] = (HOST, 0)) -> socket.socket:
    """Return a bound UDP socket that waits ANSWER_S at the most."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(address)
    made.settimeout(ANSWER_S)
    return made


class Sip:
    """Calls through a SIP proxy: both parties."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._caller, self._callee = socket_at(CALLER), socket_at(CALLEE)
        self._routes: dict[int, str] = {}

    def begin(self, number: int, ports: tuple[int, int]) -> tuple[int, int]:
        """Call; return where the caller, and where the one who is called, is told to send."""
        self._send("INVITE", number, "sip:service@127.0.0.1", "", "", described(ports[0]))
        invite = self._heard(self._callee, "INVITE ")
        head = [line for line in invite.split("\r\n") if re.match(r"(?i)(via|from|call-id|cseq|record-route):", line)]
        sdp = described(ports[1])
        answer = [
            "SIP/2.0 200 OK", *head, f"To: <sip:service@127.0.0.1>;tag=e{number}",
            "Contact: <sip:service@127.0.0.1:5070>", "Content-Type: application/sdp", f"Content-Length: {len(sdp)}",
            "", sdp,
        ]  # fmt: skip
        self._callee.sendto("\r\n".join(answer).encode(), SIP)
        ok = self._heard(self._caller, "SIP/2.0 200")
        self._routes[number] = "".join(f"Route: {each}\r\n" for each in re.findall(r"(?im)^record-route: *(.*)\r$", ok))
        self._send("ACK", number, "sip:service@127.0.0.1:5070", f";tag=e{number}", self._routes[number])
        self._heard(self._callee, "ACK ")
        return port_of(ok), port_of(invite)

    def end(self, number: int) -> None:
        """Hang up, as the caller."""
        self._send("BYE", number, "sip:service@127.0.0.1:5070", f";tag=e{number}", self._routes[number])
        bye = self._heard(self._callee, "BYE ")
        head = [line for line in bye.split("\r\n") if re.match(r"(?i)(via|from|to|call-id|cseq):", line)]
        self._callee.sendto("\r\n".join(["SIP/2.0 200 OK", *head, "Content-Length: 0", "", ""]).encode(), SIP)
        self._heard(self._caller, "SIP/2.0 200")

    def _send(self, method: str, number: int, uri: str, tag: str, routes: str, body: str = "") -> None:
        kind = "Content-Type: application/sdp\r\n" if body else ""
        self._caller.sendto(
            (
                f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5080;rport;"
                f"branch=z9hG4bK{self._run}{method}{number}\r\nMax-Forwards: 70\r\n{routes}"
                f"From: <sip:caller@127.0.0.1>;tag=r{number}\r\nTo: <sip:service@127.0.0.1>{tag}\r\n"
                f"Call-ID: {self._run}-{number}\r\nCSeq: {2 if method == 'BYE' else 1} {method}\r\n"
                f"Contact: <sip:caller@10.0.0.5:5060>\r\n{kind}Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode(),
            SIP,
        )

    def _heard(self, at: socket.socket, begin: str) -> str:
        while True:
            text = at.recv(65_536).decode()
            if text.startswith(begin):
                return text
            if not text.startswith("SIP/2.0 1"):
                raise ValueError(f"not {begin}: {text[:200]}")


class Ng:
    """Calls through rtpengine, told by its own protocol: what a SIP proxy beside it would say."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._socket = socket_at()

    def begin(self, number: int, ports: tuple[int, int]) -> tuple[int, int]:
        """Offer and answer; return where the caller, and where the one who is called, is told to send."""
        who = {"call-id": f"{self._run}-{number}", "from-tag": "r"}
        called = port_of(self._ask({"command": "offer", "sdp": described(ports[0]), **who}))
        caller = port_of(self._ask({"command": "answer", "sdp": described(ports[1]), "to-tag": "e", **who}))
        return caller, called

    def end(self, number: int) -> None:
        """Delete."""
        self._ask({"command": "delete", "call-id": f"{self._run}-{number}", "from-tag": "r", "delete-delay": "0"})

    def _ask(self, words: dict[str, str]) -> str:
        text = "".join(f"{len(each)}:{each}" for key in sorted(words) for each in (key, words[key]))
        self._socket.sendto(f"c{time.monotonic_ns()} d{text}e".encode(), NG)
        said = self._socket.recv(65_536).decode()
        if "6:result2:ok" not in said:
            raise ValueError(said[:200])
        found = re.search(r"3:sdp(\d+):", said)
        return said[found.end() : found.end() + int(found[1])] if found else ""


class Media:
    """The phones' sockets: two a call."""

    def __init__(self, signalling: Sip | Ng, count: int) -> None:
        self._sockets: list[socket.socket] = []
        self._epoll = select.epoll()
        for number in range(count):
            pair = socket_at(), socket_at()
            ports = signalling.begin(number, (pair[0].getsockname()[1], pair[1].getsockname()[1]))
            for each, port in zip(pair, ports, strict=True):
                each.connect((HOST, port))
                each.setblocking(False)
                self._epoll.register(each, select.EPOLLIN)
                self._sockets.append(each)
        self._by_number = {each.fileno(): each for each in self._sockets}
        self.sent = self.unsent = self.slots = 0
        self.took: list[float] = []  # seconds, of each packet that came
        self._sequence = 0

    def play(self, seconds: float) -> None:
        """Have all speak for so long, and hear what still comes."""
        began = time.perf_counter()
        for number, group in self._groups(round(seconds / PACKET_S)):
            at = began + number * PACKET_S / SLOTS
            while (left := at - time.perf_counter()) > 0:
                self._hear(left)
            self._speak(group)
            self.slots += 1
        deadline = time.perf_counter() + FIRST_S
        while len(self.took) < self.sent and time.perf_counter() < deadline:
            self._hear(0.05)

    def _groups(self, rounds: int) -> Iterator[tuple[int, list[socket.socket]]]:
        groups = [self._sockets[first::SLOTS] for first in range(SLOTS)]
        for number in range(rounds * SLOTS):
            if number % SLOTS == 0:
                self._sequence += 1
            yield number, groups[number % SLOTS]

    def _speak(self, group: list[socket.socket]) -> None:
        sequence, stamp = self._sequence & 0xFFFF, self._sequence * PAYLOAD
        for each in group:
            try:
                each.send(HEADER.pack(0x80, 0, sequence, stamp, 7, time.perf_counter()).ljust(12 + PAYLOAD, b"\xd5"))
                self.sent += 1
            except OSError:
                self.unsent += 1

    def _hear(self, seconds: float) -> None:
        for number, _ in self._epoll.poll(seconds):
            try:
                packet = self._by_number[number].recv(2048)
            except OSError:
                continue
            self.took.append(time.perf_counter() - HEADER.unpack_from(packet)[5])


def main() -> None:
    """Do the job."""
    job = json.loads(sys.argv[1])
    signalling = Ng(job["run"]) if job["system"] == "rtpengine" else Sip(job["run"])
    media = Media(signalling, job["calls_up"])
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    media.play(job["seconds"])
    print(json.dumps({"ended": True}), flush=True)
    took = sorted(1000 * each for each in media.took)
    told = {f"p{part}_ms": took[min(len(took) - 1, len(took) * part // 100)] if took else None for part in (50, 95, 99)}
    print(json.dumps({
        "seconds": time.monotonic() - began, "successful": len(took), "failed": media.sent - len(took) + media.unsent,
        "retransmissions": 0, **told, "max_ms": took[-1] if took else None, "complaint": "",
    }), flush=True)  # fmt: skip
    for number in range(job["calls_up"]):
        signalling.end(number)
    sys.stdin.read()


if __name__ == "__main__":
    main()
