"""Presses baresip's buttons: the same requests on the same socket as the SIPp phone, so that either can be Alice.

`phone NAME`, with PROXY_IP and TRANSPORT in the environment. baresip registers, answers by itself, and is told to dial,
to hold and to hang up by its ctrl_tcp module: JSON in netstrings. With STUN_SERVER its SDP names the address that the
server saw; its Contact does not, unlike the SIPp phone's: Debian's baresip has no setting for that.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from observer import sound
from observer.control import MANY, Request, serve
from sipp_scenarios.sipp import await_closed, own_address

HOME = Path("/tmp/baresip")
CERTIFICATES = Path("/tls")
START_S = 10.0
CALL_S = 8.0
TALK_S = 0.2  # how long a call is up before the next button is pressed
PLAYS_S = 60.0  # it plays its recording over and over
SENT_S = 1.0
ESTABLISHED = "01"  # as /proc/net/tcp writes it
REFRESH_S = int(os.environ.get("PHONE_REFRESH_S") or 20)  # see sipp_scenarios/phone.py

# Ports for sound are SIPp's.
CONFIG = """\
sip_listen {address}:5060
net_interface {address}
audio_source aufile,{home}/recording.wav
audio_player aufile,{home}/heard.wav
audio_alert aufile,{home}/ring.wav
rtp_ports 40000-43999
ringback_disabled yes
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module_app account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
"""
# It believes the lab's CA only. (It compares host names, but not addresses.)
TLS = """\
sip_cafile /tls/ca.pem
sip_verify_server yes
sip_certificate {home}/identity.pem
"""
ACCOUNT = (
    "<sip:{name}@{proxy};transport={transport}>;auth_user={name};auth_pass={name}-secret"
    ";answermode=auto;regint={refresh};audio_codecs=pcmu"
)
STUN = "module stun.so\n"
STUN_ACCOUNT = ";stunserver=stun:{server};medianat=stun"
PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}

UP, ANSWERED, OFFERED = "CALL_ESTABLISHED", "CALL_ANSWERED", "CALL_REMOTE_SDP offer"
# (flow, role) -> what has to come, and the button that is pressed then, one after another. See sipp_scenarios/README.md
BUTTONS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("call", "caller"): ((UP, ""),),
    ("call", "callee"): ((UP, ""),),
    ("hold", "caller"): ((UP, "hold"), (ANSWERED, "resume"), (ANSWERED, "")),
    ("hold", "callee"): ((UP, ""), (OFFERED, ""), (OFFERED, "")),
    ("reinvite", "caller"): ((UP, "reinvite"), (ANSWERED, ""), (OFFERED, "")),
    ("reinvite", "callee"): ((UP, ""), (OFFERED, "reinvite"), (ANSWERED, "")),
}


class Baresip:
    """A running baresip, and the buttons that are pressed while a call is up."""

    def __init__(self, name: str) -> None:
        """Start it. Returns when it has registered, or has tried to."""
        self._name = name
        self._transport = os.environ.get("TRANSPORT") or "udp"
        self._proxy = f"{os.environ['PROXY_IP']}:{PORTS[self._transport]}"
        self._changed = threading.Condition()
        self._happened: list[str] = []
        self._buttons: list[tuple[str, str]] = []
        self._planned: list[tuple[str, str]] = []  # nobody has asked: a person may talk
        self._talk_s = TALK_S
        self.busy = threading.Lock()  # of whoever has it do something
        self.hung_up = ""  # the run that is to end
        self._start()

    def _start(self) -> None:
        control = int(os.environ.get("CONTROL_PORT", "4444"))
        self._address = own_address()
        self._prepare(control)
        self._process = subprocess.Popen(
            ["baresip", "-f", str(HOME)], stdin=subprocess.DEVNULL, stdout=sys.stdout, stderr=subprocess.STDOUT
        )
        self._socket = self._connect(control)
        threading.Thread(target=self._listen, args=(self._socket,), daemon=True).start()
        # The account comes when somebody listens: else the answer to its REGISTER could be missed.
        self._make_account()

    def _make_account(self) -> bool:
        """Have it register; return whether the proxy has confirmed that."""
        self.forget()
        self.command("uanew", self._account())
        self.await_event(("REGISTER_OK", "REGISTER_FAIL"), 1, START_S)
        return self.count("REGISTER_OK") > 0

    def register(self) -> bool:
        """Register anew, from the address that the phone has now; return whether the proxy has confirmed that."""
        if own_address() == self._address and self._process.poll() is None:
            self.command("uadelall")
            return self._make_account()
        self._process.kill()
        self._process.wait()
        self._socket.close()
        self._start()
        return self.count("REGISTER_OK") > 0

    def leave(self) -> None:
        """Take the registration back, and be switched off: a connection through a router that has gone hangs."""
        if self._process.poll() is None:
            self.forget()
            self.command("uadelall")
            self.await_event(("UNREGISTERING",), 1, SENT_S)
            self._process.kill()
            self._process.wait()
            await_closed()

    def revive(self) -> None:
        """Start it anew when it has ended by itself: one call that it did not survive is enough."""
        if self._process.poll() is not None:
            print(f"baresip has ended by itself ({self._process.returncode}): starting it anew", flush=True)
            self.register()

    def plan(self, flow: str, role: str, hangs_up: bool, talk_s: float = TALK_S) -> None:
        """Set the buttons for each call that comes, the last of which may hang up, and how long each waits.

        Raises ValueError.
        """
        if (flow, role) not in BUTTONS:
            raise ValueError(f"unsupported: this phone has no buttons for the flow {flow}")
        *steps, (last, _) = BUTTONS[flow, role]
        self._planned = [*steps, (last, "hangup" if hangs_up else "")]
        self._talk_s = talk_s

    def command(self, name: str, parameters: str = "") -> None:
        """Send one command. Raises RuntimeError when baresip has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"baresip has ended by itself ({self._process.returncode})")
        text = json.dumps({"command": name, "params": parameters, "token": name})
        self._socket.sendall(f"{len(text)}:{text},".encode())

    def dial(self, user: str) -> None:
        """Call a user of the proxy."""
        self.command("dial", f"sip:{user}@{self._proxy}")

    def forget(self) -> None:
        """Begin to count events anew."""
        with self._changed:
            self._happened.clear()

    def await_event(self, names: tuple[str, ...], times: int, seconds: float) -> bool:
        """Wait until one of these events has come so many times; return whether it has."""
        with self._changed:
            return self._changed.wait_for(
                lambda: sum(self._happened.count(name) for name in names) >= times, seconds
            )

    def count(self, name: str) -> int:
        """Return how often this event has come since events were counted anew."""
        with self._changed:
            return self._happened.count(name)

    def counts(self) -> Request:
        """Return how many calls were up, and how many have ended, since events were counted anew.

        By TCP and TLS, when all that baresip has said has arrived: the kernel may hold an answer back until what was
        sent before it is acknowledged, and the captures are not to end before.
        """
        deadline = time.monotonic() + SENT_S
        while unacknowledged() and time.monotonic() < deadline:
            time.sleep(0.002)  # pacing of a poll, with a deadline
        return {"up": self.count("CALL_ESTABLISHED"), "ended": self.count("CALL_CLOSED")}

    def _account(self) -> str:
        server = os.environ.get("STUN_SERVER")
        account = ACCOUNT.format(name=self._name, proxy=self._proxy, transport=self._transport, refresh=REFRESH_S)
        return account + (STUN_ACCOUNT.format(server=server) if server else "")

    def _prepare(self, control: int) -> None:
        HOME.mkdir(parents=True, exist_ok=True)
        config = CONFIG + (STUN if os.environ.get("STUN_SERVER") else "")
        if self._transport == "tls":
            config += TLS
            parts = [(CERTIFICATES / name).read_text(encoding="ascii") for name in ("phone.pem", "phone.key")]
            (HOME / "identity.pem").write_text("".join(parts))
        (HOME / "config").write_text(
            config.format(address=self._address, home=HOME, control=control)
        )
        (HOME / "accounts").write_text("# none yet\n")
        is_known = self._name in sound.TONES  # by what it plays; a third phone is silent
        once = sound.linear(sound.recording(self._name)) if is_known else [0] * round(sound.RATE * sound.SECONDS)
        sound.save(once * round(PLAYS_S / sound.SECONDS), HOME / "recording.wav")

    def _connect(self, control: int) -> socket.socket:
        deadline = threading.Event()
        threading.Timer(START_S, deadline.set).start()
        while True:
            try:
                return socket.create_connection(("127.0.0.1", control))
            except ConnectionRefusedError:
                if self._process.poll() is not None or deadline.wait(0.02):
                    raise RuntimeError("baresip does not open its control port") from None

    def _listen(self, said: socket.socket) -> None:
        buffer = b""
        while data := said.recv(65536):
            buffer += data
            while b":" in buffer:
                length, _, rest = buffer.partition(b":")
                if len(rest) <= int(length):
                    break
                self._event(json.loads(rest[: int(length)]))
                buffer = rest[int(length) + 1 :]

    def _event(self, message: dict[str, Any]) -> None:
        if not message.get("event"):
            return
        what = message["type"]
        if what == UP:
            self._buttons = list(self._planned)
        if self._buttons and self._buttons[0][0] in (what, f"{what} {message.get('param')}"):
            _, button = self._buttons.pop(0)
            if button:
                threading.Timer(self._talk_s, self.command, [button]).start()
        with self._changed:
            self._happened.append(what)
            self._changed.notify_all()


def unacknowledged() -> int:
    """Return how many bytes the connections that are up here have sent without an acknowledgement, or not yet sent."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return sum(int(row[4].partition(":")[0], 16) for row in rows if row[3] == ESTABLISHED)


def answer(phone: Baresip, request: Request) -> Request:
    """`register`, `leave`, `listen`, `place`, `finish`, as the SIPp phone does them; its counts are not SIPp's.

    One after another, but for `hang-up`, which ends what `place` does.
    """
    if request["do"] == "hang-up":
        phone.hung_up = request["run"]
        phone.command("hangup")
        return {"hung_up": True}
    with phone.busy:
        return _answer(phone, request)


def _answer(phone: Baresip, request: Request) -> Request:
    if request["do"] == "register":
        return {"registered": phone.register()}
    if request["do"] == "leave":
        phone.leave()
        return {"registered": False}
    if request["count"] > 1 and request["at_once"]:
        raise ValueError("unsupported: this phone has one line")
    if request.get("event"):
        raise ValueError("unsupported: this phone does not wait in mid-call")
    flow, sound_s = request.get("flow", "call"), request.get("audio", 0.0)
    if request["do"] != "finish":
        phone.revive()
    if request["do"] == "listen":
        phone.forget()
        phone.plan(flow, "callee", request["hangup"] == "callee", TALK_S + sound_s)
        return {"listening": True}
    if request["do"] == "place":
        phone.plan(flow, "caller", request["hangup"] == "caller", TALK_S + sound_s)
        phone.forget()
        for number in range(request["count"]):
            if phone.hung_up == request.get("run"):
                break
            phone.dial(request["to"])
            phone.await_event(("CALL_CLOSED",), number + 1, CALL_S + sound_s)
        phone.plan("call", "callee", hangs_up=False)
        return phone.counts()
    if request["do"] == "finish":  # the caller is done: what has not come will not come
        phone.await_event(("CALL_CLOSED",), max(phone.count("CALL_INCOMING"), phone.count(UP)), CALL_S + sound_s)
        phone.plan("call", "callee", hangs_up=False)
        return phone.counts()
    raise ValueError(f"a phone cannot {request['do']!r}")


def main() -> int:
    """Be the phone until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    name = sys.argv[1]
    phone = Baresip(name)
    serve(name, lambda request: answer(phone, request), MANY)
    return 0


if __name__ == "__main__":
    sys.exit(main())
