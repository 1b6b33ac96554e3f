"""How each system is started for a kind of work: the same addresses, the same work, and its defaults otherwise."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from labkit.bench.containers import SCENARIOS, Program
from labkit.bench.work import KAMAILIO, OTHER, OURS, RTPENGINE, SIPPY, Work
from labkit.settings import ROOT

USERS = 100_000
REALM, PASSWORD = "127.0.0.1", "secret"
MEDIA_PORTS, NG_PORT = "20000-29999", 2223
FLUSH_S = 2  # how long what is written behind may wait, for both
MAPPING = {name: {"ip": "127.0.0.1", "port": port} for name, port in (("service", 5070), ("held", 5071))}


@dataclass(slots=True, frozen=True)
class Images:
    """The images that the containers are made of, by their names."""

    proxy: str
    phone: str
    peers: str
    python: str  # which of its own serves the proxy
    other: str = ""  # another image of the proxy


@dataclass(slots=True)
class Users:
    """The users that register, in a folder that containers see as /users. A run has a share of them to itself."""

    folder: Path
    given: int = 0

    @classmethod
    def make(cls, project: str) -> Users:
        """Write the proxy's file of users."""
        folder = ROOT / ".cache" / "bench" / project
        folder.mkdir(parents=True, exist_ok=True)
        lines = (f"u{number}:{REALM}:MD5:{_ha1(f'u{number}')}\n" for number in range(USERS))
        (folder / "users").write_text("".join(lines), encoding="ascii")
        return cls(folder)

    @property
    def volume(self) -> str:
        """The folder as a container's volume."""
        return f"{self.folder}:/users:ro"

    def share(self, count: int, first: int | None = None) -> str:
        """Return the file, as containers see it, of so many users whom no share has had: or from this one on.

        After the last user comes the first again: who has had so many registrations is refreshed from then on.
        """
        start = self.given if first is None else first
        if first is None:
            self.given = (self.given + count) % USERS
        numbers = ((start + number) % USERS for number in range(count))
        lines = (f"u{number};[authentication username=u{number} password={PASSWORD}]\n" for number in numbers)
        name = f"{start}-{count}.csv"
        (self.folder / name).write_text("SEQUENTIAL\n" + "".join(lines), encoding="ascii")
        return f"/users/{name}"

    def remove(self) -> None:
        """Remove the folder."""
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()


def _ha1(user: str) -> str:
    return hashlib.md5(f"{user}:{REALM}:{PASSWORD}".encode(), usedforsecurity=False).hexdigest()


def program(system: str, work: Work, images: Images, users: Users, workers: int) -> Program:
    """Return what a system's container runs for a kind of work, with so many workers where it has such."""
    known = {OURS: _ours, OTHER: _other, KAMAILIO: _kamailio, SIPPY: _sippy, RTPENGINE: _rtpengine}
    return known[system](work, images, users, workers)


def _ours(work: Work, images: Images, users: Users, workers: int) -> Program:
    variables = {
        "SIP_PROXY_IP": "127.0.0.1",
        "UA_MAPPING": json.dumps(MAPPING),
    }
    if workers > 1:
        variables["SIP_PROXY_WORKERS"] = str(workers)
    volumes = []
    if work.has_passwords:
        variables |= {"SIP_PROXY_USERS": "/users/users", "SIP_PROXY_REALM": REALM, "SIP_PROXY_ALGORITHMS": "MD5"}
        volumes.append(users.volume)
    if work.journal:
        variables["SIP_PROXY_STATE"] = "/var/lib/sip-proxy"
        variables["SIP_PROXY_FLUSH"] = str(FLUSH_S) if work.journal == "behind" else "0"
        volumes.append("/var/lib/sip-proxy")  # a volume, which lies on a disk
    if work.is_media:
        variables |= {"SIP_PROXY_RELAY": "always", "SIP_PROXY_RELAY_PORTS": MEDIA_PORTS}
    return Program(images.proxy, [images.python, "-m", "proxy"], variables, volumes)


def _other(work: Work, images: Images, users: Users, workers: int) -> Program:
    return replace(_ours(work, images, users, workers), image=images.other, command=())  # what it does by itself


def _kamailio(work: Work, images: Images, users: Users, workers: int) -> Program:
    is_registrar = bool(work.journal) or work.name == "options"
    # Two of them lock each other out of SQLite, and answer 500: with one it is faster.
    defines = [f"CHILDREN={1 if work.journal else workers}"]
    if is_registrar:
        defines += [f"DBMODE={ {'': 0, 'through': 1, 'behind': 2}[work.journal] }", f"FLUSH={FLUSH_S}"]
    defines += ["DIGEST"] * (work.has_passwords and not is_registrar)
    defines += ["LOADED"] * work.is_loaded + ["TCP"] * (work.transport == "tcp")
    configuration = "kamailio-register.cfg" if is_registrar else "kamailio.cfg"
    command = ["kamailio", "-DD", "-E", "-Y", "/tmp", "-m", "1024", "-f", f"/bench/{configuration}"]
    command += [argument for define in defines for argument in ("-A", define)]
    volumes = [f"{SCENARIOS}:/bench:ro", *(["/var/lib/kamailio"] if is_registrar else [])]
    return Program(images.peers, command, {}, volumes)


def _sippy(work: Work, images: Images, users: Users, workers: int) -> Program:
    command = ["python3", "-m", "sippy.b2bua_simple", "-f", "-l", "127.0.0.1", "-p", "5060", "-n", "127.0.0.1:5070"]
    return Program(images.peers, command, {"PYTHONPATH": "/opt/sippy", "SIPLOG_BEND": "none"})


def _rtpengine(work: Work, images: Images, users: Users, workers: int) -> Program:
    first, last = MEDIA_PORTS.split("-")
    command = [
        "rtpengine", "--foreground", "--table=-1", "--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{NG_PORT}",
        f"--port-min={first}", f"--port-max={last}", f"--num-threads={workers}", "--log-stderr", "--log-level=3",
        "--pidfile=/tmp/rtpengine.pid",
    ]  # fmt: skip
    return Program(images.peers, command, {}, port=NG_PORT)
