"""A home router: the rules of its kind, and what can be done to it while the lab runs.

Process 1 of its container. It answers on ROUTER.sock in the lab's room, where `natctl`, the pod and the observer ask:
one JSON object each way, {"do": VERB, ...} -> {"text": ...}, {"error": one line, "exit": 2 or 127}, or data.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from nat import kinds, rules
from nat.history import History, Mapping, translation
from nat.impair import RULES, BadImpairment, Impairments, Unsupported
from observer.control import MANY, Request, serve, until_stopped

FIRST_PORT, OTHER_FIRST_PORT = 50_000, 52_000  # a rebind goes from one range to the other
# The way that sound is blocked, and the rules that begin so, with the router's LAN interface for {lan}.
_IN, _OUT = 'iifname != "{lan}" oifname "{lan}" meta l4proto udp', 'iifname "{lan}" meta l4proto udp'
BLOCKED = {"in": (_IN,), "out": (_OUT,), "both": (_IN, _OUT), "off": ()}
LEAST_AWAY_S, MOST_AWAY_S = 1.0, 60.0
USAGE, UNSUPPORTED = 2, 127

Reply = dict[str, Any]


class Refused(Exception):
    """What was asked for cannot be: one line, and an exit code."""

    def __init__(self, text: str, code: int = USAGE) -> None:
        super().__init__(text)
        self.code = code


class Router:
    """One router. Verbs are methods; each returns one line of what it did."""

    def __init__(self, environment: dict[str, str]) -> None:
        """Find the interfaces. Raises Refused."""
        self._places = {
            name: environment[name]
            for name in ("LAN_IP", "PHONE_IP", "FACE_IP", "HOME_SUBNET", "CORE_IP", "WAN_IP", "WAN_IP2")
        }
        self._places["WAN"] = interface_of(environment["WAN_IP"])
        self._places["LAN"] = interface_of(environment["LAN_DOCKER_IP"])
        self._addresses = [environment["WAN_IP"], environment["WAN_IP2"]]
        self._first_port = FIRST_PORT
        self._moved = False  # rebound: a router that keeps ports has lost this one to somebody else
        self.kind = kinds.PRESETS[kinds.BASE]
        self.history = History()
        self._blocks_udp = False
        self._mutes = "off"
        self.changing = threading.Lock()  # of a verb, while it is done
        self._leading = threading.Lock()
        self.impairments = Impairments((self._places["LAN"], self._places["WAN"]), when_idle=self._lead)

    def start(self, kind: str) -> None:
        """Take the place of the home's router. Raises Refused for a kind that is unknown or that the kernel has not."""
        lan, docker = self._places["LAN"], os.environ["LAN_DOCKER_IP"]
        if docker != self._places["LAN_IP"]:  # Docker gives no two networks the same numbers: this home takes its own
            run("ip", "address", "add", f"{self._places['LAN_IP']}/24", "dev", lan)
            run("ip", "address", "del", f"{docker}/24", "dev", lan)
        with self._frozen():
            rules.load(["base-load"], self._variables(self.kind.profile))
            self._load(_parse(kind))
            self._route()
        self.history.follow()

    @property
    def public(self) -> str:
        """Its public address, which `change_ip` changes."""
        return self._places["WAN_IP"]

    # What can be done to it

    def set(self, kind: str) -> str:
        """Become a router of another kind; what it remembered is forgotten."""
        wanted = _parse(kind)
        self._refuse_on_a_bad_line("set")
        before, moved = self.kind, self._moved
        self._moved = False
        with self._frozen():
            try:
                self._load(wanted)
            except Refused:
                self._moved = moved
                self._load(before)
                self.history.tell("flush", f"{wanted.name} is not for this kernel; all mappings are forgotten")
                raise
            finally:
                self._forget()
        return f"the router is {wanted.name} now, and remembers nothing"

    def flush(self) -> str:
        """Forget all mappings."""
        with self._frozen():
            self._load(self.kind)
            self._forget()
        return "all mappings are forgotten"

    def rebind(self) -> str:
        """Forget all mappings, and give other ports from now on."""
        self._refuse_where_it_cannot("rebind")
        self._first_port = OTHER_FIRST_PORT if self._first_port == FIRST_PORT else FIRST_PORT
        self._moved = True
        with self._frozen():
            self._load(self.kind)
            self._forget()
        return f"all mappings are forgotten; new ones begin at port {self._first_port}"

    def change_ip(self) -> str:
        """Have another public address."""
        self._refuse_where_it_cannot("change-ip")
        old, new = self._places["WAN_IP"], next(ip for ip in self._addresses if ip != self._places["WAN_IP"])
        with self._frozen():
            run("ip", "address", "add", f"{new}/24", "dev", self._places["WAN"])
            run("ip", "address", "del", f"{old}/24", "dev", self._places["WAN"])
            self._places["WAN_IP"] = new
            self._load(self.kind)
            self._route()
            self._forget()
        return f"the public address is {new} now; it was {old}"

    def reboot(self, seconds: float = 2.0) -> str:
        """Be away for so many seconds, and come back with nothing remembered."""
        if not LEAST_AWAY_S <= seconds <= MOST_AWAY_S:
            raise Refused(f"reboot {seconds:g}: must be from {LEAST_AWAY_S:g} to {MOST_AWAY_S:g} seconds")
        with self._frozen():
            threading.Event().wait(seconds)  # it is switched off: nothing else would do
            self._load(self.kind)
            self._forget()
        return f"away for {seconds:g} s; all mappings are forgotten"

    def lifetime(self, seconds: str) -> str:
        """Forget mappings after so many seconds from now on. Those that are there are forgotten at once."""
        self._refuse_where_it_cannot("lifetime")
        self._refuse_on_a_bad_line("lifetime")
        words = [word for word in self.kind.name.split(",") if not word.startswith("lifetime=")]
        return self.set(",".join([*words, f"lifetime={seconds}"]))

    def block_udp(self, on: bool) -> str:
        """Drop all UDP, or let it pass again: a firewall before the same router, which stays of its kind."""
        run("nft", "destroy table ip lab_blocked")
        if on:
            run("nft", "table ip lab_blocked { chain no_udp { type filter hook forward priority -10; "
                       "meta l4proto udp drop; }; }")  # fmt: skip
        self._blocks_udp = on
        return f"UDP is {'blocked' if on else 'passed'}"

    def block_audio(self, way: str) -> str:
        """Drop sound that comes "in" to the home, that goes "out" of it, or "both"; "off": let it pass again.

        Sound is RTP and RTCP, by their version in the first two bits (RFC 3550 §5.1): SIP passes.
        """
        if way not in BLOCKED:
            raise Refused(f"block-audio {way}: must be one of {', '.join(BLOCKED)}")
        run("nft", "destroy table ip lab_muted")
        if way != "off":
            rules = " ".join(f"{side.format(lan=self._places['LAN'])} @th,64,2 2 drop;" for side in BLOCKED[way])
            run("nft", f"table ip lab_muted {{ chain mute {{ type filter hook forward priority -10; {rules} }}; }}")
        self._mutes = way
        return "sound is passed" if way == "off" else f"sound is blocked: {way}"

    def loss(self, percent: float) -> str:
        """Lose so many of a hundred packets, in both directions; 0: none."""
        self._impair(lambda: self.impairments.set_loss(percent))
        return f"{percent:g} % of the packets are lost"

    def delay(self, milliseconds: float) -> str:
        """Hold every packet back, in both directions; 0: none."""
        self._impair(lambda: self.impairments.set_delay(milliseconds))
        return f"every packet takes {milliseconds:g} ms longer, each way"

    def drop_next(self, pattern: str, times: int = 1) -> str:
        """Drop the next messages whose first line matches."""
        self._impair(lambda: self.impairments.drop_next(pattern, times))
        what = "message that begins" if times == 1 else f"{times} messages that begin"
        return f"dropped will be the next {what} {pattern}"

    def clear(self) -> str:
        """Be a good network again."""
        self._impair(self.impairments.clear)
        self.block_udp(False)
        self.block_audio("off")
        return "no delay, no loss, nothing waits to be dropped, and UDP and sound pass"

    def show(self) -> str:
        """Say the profile, the impairments and the mappings with their age and the time that they have left."""
        axes = ", ".join(f"{axis} {value}" for axis, value in self.kind.profile.items())
        lines = [f"{self.kind.name}: {axes}", f"public address {self.public}"]
        blocked = {"udp": "blocked" if self._blocks_udp else "passed", "sound blocked": self._mutes}
        state = {**self.impairments.state(), **blocked}
        lines.append(f"impairments: {json.dumps(state)}")
        lines += ["", f"{'':3} {'private':<22} {'public':<22} {'peer':<22} {'age':>6} {'left':>6}"]
        listed = run("conntrack", "-L", check=False)
        return "\n".join([*lines, *sorted(filter(None, map(self._mapping_line, listed.splitlines())))])

    # How it is done

    def _refuse_where_it_cannot(self, verb: str) -> None:
        why = kinds.cannot(verb, self.kind)
        if why:
            raise Refused(f"{verb}: {why}")

    def _refuse_on_a_bad_line(self, verb: str) -> None:
        """Nobody can say of what kind a router is by what passes such a line, and so it will be measured."""
        state = self.impairments.state()
        bad = [
            *(["UDP is blocked"] if self._blocks_udp else []),
            *([f"{state['loss_percent']:g} % of the packets are lost"] if state["loss_percent"] else []),
            *([f"every packet takes {state['delay_ms']:g} ms longer"] if state["delay_ms"] else []),
            *(["messages wait to be dropped"] if state["pending"] else []),  # the probe says INVITE too
        ]
        if bad:
            raise Refused(f"{verb}: {' and '.join(bad)}: no router is measured so; `clear` first, and then again")

    def _mapping_line(self, line: str) -> str:
        parsed = entry(line)
        if parsed is None:
            return ""
        mapping, peer, left = parsed
        made = self.history.made(mapping)
        age = f"{time.time() - made:.0f} s" if made else "?"
        private, public = (f"{address}:{port}" for address, port in (mapping.private, mapping.public))
        return f"{mapping.transport} {private:<22} {public:<22} {peer:<22} {age:>6} {f'{left} s':>6}"

    def _load(self, kind: kinds.Kind) -> None:
        """Replace the rules. Raises Refused, with exit 127, for what this kernel cannot do."""
        given = self._variables(kind.profile)
        try:
            rules.load(["base-unload", *rules.files(kind.profile)], given)
        except rules.Unsupported as error:
            raise Refused(f"unsupported: {error}", UNSUPPORTED) from None
        self.kind = kind
        self.history.lifetime = float(kind.profile["lifetime"])

    def _variables(self, profile: kinds.Profile) -> dict[str, str]:
        given = rules.variables(profile, self._first_port)
        if self._moved and not given["PORTS"]:
            given["PORTS"] = f"{self._first_port}-{self._first_port + kinds.ALL_PORTS - 1}"
        return {**self._places, **given}

    def _route(self) -> None:
        run("ip", "route", "replace", "default", "via", self._places["CORE_IP"], "dev", self._places["WAN"])

    def _forget(self) -> None:
        run("conntrack", "-F", check=False)

    def _impair(self, change: Callable[[], None]) -> None:
        """Change the impairments, and lead packets through user space while they need it and only then."""
        try:
            change()
        except BadImpairment as error:
            raise Refused(str(error)) from None
        except Unsupported as error:
            raise Refused(f"unsupported: {error}", UNSUPPORTED) from None
        self._lead()

    def _lead(self) -> None:
        """Lead packets through user space, or no more."""
        with self._leading:  # the last drop ends it by itself, while a verb may begin it
            run("iptables", "-t", "mangle", "-F", "LAB_QUEUE")
            if self.impairments.is_needed():
                for rule in RULES:
                    words = rule.removeprefix("FORWARD ").format(lan=self._places["LAN"]).split()
                    run("iptables", "-t", "mangle", "-A", "LAB_QUEUE", *words)

    @contextlib.contextmanager
    def _frozen(self) -> Iterator[None]:
        """No packet passes meanwhile: one that came between two sets of rules would stay as it was in connection
        tracking. So it is with a router that is switched off."""
        sides = ", ".join(f'"{self._places[side]}"' for side in ("LAN", "WAN"))
        run("nft", f"table ip lab_frozen {{ chain still {{ type filter hook prerouting priority -500; "
                   f"iifname {{ {sides} }} drop; }}; }}")  # fmt: skip
        try:
            yield
        finally:
            run("nft", "destroy table ip lab_frozen")


def entry(line: str) -> tuple[Mapping, str, int] | None:
    """Return (mapping, peer, seconds left) of a line of `conntrack -L`; None where it translates nothing."""
    words = line.split()
    if len(words) < 3 or words[0] not in ("udp", "tcp"):
        return None
    found = translation(f"[0.0] [NEW] {line}")
    if found is None:
        return None
    mapping = found[2]
    sides = [word for word in words if word.startswith(("src=", "dst=", "sport=", "dport="))]
    source, target, source_port, target_port = (side.partition("=")[2] for side in sides[:4])
    peer = f"{target}:{target_port}" if (source, int(source_port)) == mapping.private else f"{source}:{source_port}"
    return mapping, peer, int(words[2])


def _parse(text: str) -> kinds.Kind:
    try:
        return kinds.parse(text)
    except kinds.UnknownKind as error:
        raise Refused(str(error)) from None


def interface_of(address: str) -> str:
    """Return the interface that bears this IPv4 address. Raises Refused."""
    for line in run("ip", "-4", "-oneline", "address", "show").splitlines():
        _, name, _, cidr, *_ = line.split()
        if cidr.partition("/")[0] == address:
            return name
    raise Refused(f"router: no interface bears {address}")


def run(*command: str, check: bool = True) -> str:
    """Run a command and return what it prints. Raises Refused with its last words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise Refused(f"{' '.join(command)}: {' '.join(done.stderr.split())}")
    return done.stdout


def answer(router: Router, request: Request) -> Reply:
    """Do what is asked: one verb at a time. What only tells does not wait for one: a reboot may take a minute."""
    verbs: dict[str, Callable[..., str]] = {
        "set": router.set, "flush": router.flush, "rebind": router.rebind, "change-ip": router.change_ip,
        "reboot": router.reboot, "lifetime": router.lifetime, "block-udp": router.block_udp, "loss": router.loss,
        "delay": router.delay, "drop-next": router.drop_next, "clear": router.clear,
        "block-audio": router.block_audio,
    }  # fmt: skip
    do = request.pop("do")
    kind = router.kind
    claims = {
        "name": kind.name, "text": kinds.as_text(kind.profile), "profile": kind.profile, "public": router.public,
    }  # fmt: skip
    if do == "profile":
        return claims
    if do == "history":
        return {**claims, "events": router.history.events(request.get("since", 0.0))}
    if do == "show":
        return {"text": router.show()}
    if do == "settle":
        return {"waited": router.impairments.settle()}
    with router.changing:
        try:
            said = verbs[do](**request)
        except Refused as refused:
            return {"refused": str(refused), "exit": refused.code}
        is_off = request.get("on") is False or request.get("percent") == 0
        which = " off" if is_off else f" {request['way']}" if "way" in request else ""
        router.history.tell(f"{do}{which}", said)
        print(f"router: {said}", flush=True)
    return {"text": said}


def main() -> int:
    """Be the router until SIGTERM."""
    try:
        router = Router(dict(os.environ))
        router.start(os.environ["NAT_TYPE"])
    except Refused as refused:
        print(f"router: {refused}", file=sys.stderr)
        return refused.code
    print(f"router: {router.kind.name}", flush=True)
    name = os.environ["ROUTER"]
    threading.Thread(target=serve, args=(name, lambda request: answer(router, request), MANY), daemon=True).start()
    until_stopped()
    return 0


if __name__ == "__main__":
    sys.exit(main())
