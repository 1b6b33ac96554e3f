"""One run of SIPp: its command line, its end, its statistics read by column name.

What SIPp's traps ask for stands in the arguments below: names and identifiers that no other run shares (in a container
its process id, and so its branches and Call-IDs, repeat), one socket, no terminal.
"""

from __future__ import annotations

import csv
import math
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from observer import sound
from sipp_scenarios import stun
from sipp_scenarios.parts import scenario

PORT = 5060
START_S = 5.0
END_S = 8.0  # longer than the longest wait in a scenario
UP_S = 12.0  # longer than a call takes to be up, or to fail
# Debian's SIPp speaks no TLS: linked to wolfSSL, it shakes hands and then sends nothing.
# An even port for each call whose sound it plays, RTCP's above it. Fewer than calls, and SIPp ends.
AUDIO_PORTS = ("-min_rtp_port", "40000", "-max_rtp_port", "43999")
SOCKETS = {"udp": ["-t", "u1"], "tcp": ["-t", "t1", "-set", "connected", "1"]}


@dataclass(slots=True, frozen=True)
class Voice:
    """What a phone plays in its calls, the path of a file, over and over for so long."""

    recording: str
    seconds: float

    @property
    def times(self) -> int:
        """How often."""
        return math.ceil(self.seconds / sound.SECONDS)

    @property
    def milliseconds(self) -> int:
        """How long that takes, and a little more."""
        return round(1000 * self.seconds) + 50


SILENT = Voice("", 0.0)


@dataclass(slots=True)
class Counts:
    """What SIPp says of a finished run."""

    successful: int
    failed: int
    retransmissions: int
    exit_code: int


def transport() -> str:
    """Return what this phone speaks: udp or tcp."""
    return os.environ.get("TRANSPORT") or "udp"


def transport_param() -> str:
    """Return what a URI of this phone's says of its transport."""
    return "" if transport() == "udp" else f";transport={transport()}"

CLOSED_S = 1.0
CLOSING = frozenset(("04", "09", "0B"))  # FIN_WAIT1, LAST_ACK, CLOSING, as /proc/net/tcp writes them


def own_address() -> str:
    """Return the address that this phone has towards its proxy, as the kernel says (a pod may have a new one)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((os.environ["PROXY_IP"], PORT))  # sends nothing
        return str(asking.getsockname()[0])


def await_closed(table: Path = Path("/proc/net/tcp")) -> None:
    """Return when the other end has heard that connections were closed here, or after CLOSED_S.

    A router that changes while it has not heard of it forgets the connection, and then lets what its sender repeats
    through as it is, with a private source.
    """
    deadline = time.monotonic() + CLOSED_S
    while any(line.split()[3] in CLOSING for line in table.read_text(encoding="ascii").splitlines()[1:]):
        if time.monotonic() > deadline:
            return
        time.sleep(0.005)  # pacing of a poll, with a deadline


class Sipp:
    """A running SIPp on the phone's one address: on its one UDP port, or on a connection of its own."""

    def __init__(
        self, name: str, folder: Path, run: str, arguments: list[str], port: int = 0, voice: Voice = SILENT
    ) -> None:
        """Start it. `run` is in every branch, tag and Call-ID; `folder` gets scenario, statistics and errors.

        `port` is another than the phone's usual one. With a `voice` it is heard in its calls.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._errors = folder / f"{name}-{run}.err"
        self._statistics = folder / f"{name}-{run}.csv"
        self._log = folder / f"{name}-{run}.log"
        self.address, speaks = own_address(), transport()
        self._usual = port == 0
        self.port = (port or PORT) if speaks == "udp" else _free_port(self.address)
        host, known_port = _known_as((self.address, self.port))
        command = [
            "sipp", f"{os.environ['PROXY_IP']}:{PORT}", "-sf", _written(name, folder, voice),
            "-i", self.address, "-mi", self.address, "-p", str(self.port), *SOCKETS[speaks], "-nostdin",
            "-cid_str", f"{run}-%u", "-key", "run", run, "-key", "host", host, "-key", "port", str(known_port),
            "-key", "transport_param", transport_param(), *AUDIO_PORTS, "-key", "recording", voice.recording,
            "-default_behaviors", "all,-bye",  # a call that failed has ended: no message that is not in the scenario
            "-trace_err", "-error_file", str(self._errors), *self._counting(),
            "-trace_logs", "-log_file", str(self._log),
            *arguments,
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/tmp"
        )

    def is_running(self) -> bool:
        """Say whether it has not ended yet."""
        return self._process.poll() is None

    def listen(self) -> None:
        """Return when it holds the phone's port: a packet that comes now is its own. Raises RuntimeError."""
        octets = reversed(self.address.split("."))
        port = PORT if self._usual else self.port
        bound = f"{''.join(f'{int(octet):02X}' for octet in octets)}:{port:04X}"  # as /proc/net/udp writes it
        deadline = time.monotonic() + START_S
        while bound not in Path("/proc/net/udp").read_text(encoding="ascii"):
            if not self.is_running() or time.monotonic() > deadline:
                raise RuntimeError(f"SIPp does not listen: {self.complaint()}")
            time.sleep(0.005)  # pacing of a poll, with a deadline

    def complaint(self) -> str:
        """Return the last line of its error file."""
        lines = self._errors.read_text(errors="replace").splitlines() if self._errors.exists() else []
        return lines[-1] if lines else f"no reason given, exit {self._process.poll()}"

    def wait(self, seconds: float) -> Counts:
        """Wait until it ends by itself, end it by force after so many seconds, and return its counts."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return self._counts()

    def stop(self) -> Counts:
        """Let it finish the calls that are up (SIGUSR1), and return its counts."""
        if self.is_running():
            self._process.send_signal(signal.SIGUSR1)
        return self.wait(END_S)

    def calls_up(self) -> int:
        """Return how many calls are up, as SIPp said within the last second."""
        return int(self._last_row().get("CurrentCall", 0))

    def when_up(self, happen: Callable[[], None]) -> None:
        """Have something happen while its call is up (part event): it stands still meanwhile, and goes on afterwards.

        Nothing happens where no call comes up.
        """
        self._await(lambda: self._logged("up") > 0, UP_S)
        if not self._logged("up"):
            return
        self._process.send_signal(signal.SIGSTOP)
        try:
            happen()
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _await(self, predicate: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not predicate() and self.is_running() and time.monotonic() < deadline:
            time.sleep(0.005)  # pacing of a poll, with a deadline

    def _logged(self, word: str) -> int:
        return self._log.read_text(encoding="utf-8").count(word) if self._log.exists() else 0

    def _counting(self) -> list[str]:
        """Return what has SIPp write its statistics: a row every second."""
        return ["-trace_stat", "-stf", str(self._statistics), "-fd", "1"]

    def _counts(self) -> Counts:
        """Read the counts; all 0 where SIPp wrote none. Raises KeyError for a SIPp that names its columns otherwise.

        An OPTIONS that was answered is a call to SIPp; the scenario counts it, and it is none here.
        """
        last = self._last_row()
        successful, failed, again = (
            int(last[f"{column}(C)"]) if last else 0 for column in ("SuccessfulCall", "FailedCall", "Retransmissions")
        )
        return Counts(successful - int(last.get("options(C)", 0)), failed, again, self._process.returncode)

    def _last_row(self) -> dict[str, str]:
        last: dict[str, str] = {}
        if self._statistics.exists():
            with self._statistics.open(newline="", encoding="utf-8") as lines:
                for row in csv.DictReader(lines, delimiter=";"):
                    if None not in row.values():  # SIPp was killed while it wrote
                        last = row
        return last


class ConnectedSipp(Sipp):
    """A SIPp that registers, keeps the connection, and is called on it.

    Calls are its out-of-call scenario then, which its statistics leave out: they are counted by what the scenario logs.
    """

    def __init__(
        self, called: str, folder: Path, run: str, arguments: list[str], refresh: float, voice: Voice = SILENT
    ) -> None:
        """Start it. `called` is the scenario of its calls; it refreshes its registration every `refresh` seconds."""
        folder.mkdir(parents=True, exist_ok=True)
        calls = _written(called, folder, voice)
        stays = ["-m", "1", "-set", "refresh_ms", str(int(1000 * refresh)), "-oocsf", calls]
        super().__init__("register", folder, run, [*stays, *arguments], voice=voice)

    def listen(self) -> None:
        """Return when it has registered, or has tried to."""
        self._await(self.is_registered, START_S)

    def is_registered(self) -> bool:
        """Say whether the proxy has confirmed its REGISTER."""
        return self._logged("registered") > 0

    def stop(self) -> Counts:
        """Let it finish the calls that are up, end it, and return its counts. SIPp itself repeats nothing."""
        self._await(lambda: self.calls_up() == 0, END_S)
        begun, ended = self._logged("begun"), self._logged("ended")
        self._process.kill()
        self._process.wait()
        return Counts(ended, begun - ended, 0, 0)

    def calls_up(self) -> int:
        """Return how many calls are up."""
        return self._logged("begun") - self._logged("ended")

    def _counting(self) -> list[str]:
        return []  # nobody reads them, and a row every second for weeks fills the disk


def _known_as(own: stun.Address) -> stun.Address:
    """Return what the phone writes into Via and Contact: its own address, or with STUN_SERVER the one that is seen.

    The server is asked anew by every SIPp: the router may have forgotten what it said before.
    """
    server, _, port = os.environ.get("STUN_SERVER", "").partition(":")
    if not server or transport() != "udp":
        return own
    return stun.public_address(own, (server, int(port))) or own


def _written(name: str, folder: Path, voice: Voice) -> str:
    """Write a scenario with all its parts into a folder, beside what became of it, and return its path."""
    path = folder / f"{name}.xml"
    path.write_text(scenario(name, voice.times, voice.milliseconds), encoding="utf-8")
    return str(path)


def _free_port(address: str) -> int:
    """Return a TCP port that nobody has: whoever had the last one may still be waited for there (TIME_WAIT)."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
