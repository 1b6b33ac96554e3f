"""What can be asked of a router, and what it says to what it cannot do. That it does it is shown in tests/e2e."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nat import kinds, router, rules
from nat.history import History
from nat.impair import read_pattern
from nat.router import Refused, Router, answer, entry
from observer import control

TRACKED = (
    "udp      17 27 src=10.77.1.100 dst=198.51.100.10 sport=5060 dport=5060 src=198.51.100.10 dst=198.51.100.20 "
    "sport=5060 dport=50010 [ASSURED] mark=0 use=1"
)
ENVIRONMENT = {
    "LAN_IP": "10.77.1.1", "LAN_DOCKER_IP": "10.77.1.1", "PHONE_IP": "10.77.1.100", "FACE_IP": "198.51.100.100",
    "HOME_SUBNET": "10.77.1.0/24", "CORE_IP": "198.51.100.1", "WAN_IP": "198.51.100.20", "WAN_IP2": "198.51.100.21",
    "NAT_TYPE": "home",
}  # fmt: skip


class Kernel:
    """Stands where the kernel's tools are asked: notes what is loaded and run, and can refuse a rule file."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.commands: list[str] = []
        self.refuses = ""
        self.variables: dict[str, str] = {}

    def load(self, names: list[str], given: dict[str, str]) -> None:
        if self.refuses in names:
            raise rules.Unsupported(f"this kernel does not load the rules of {self.refuses}")
        self.loaded = names
        self.variables = given

    def run(self, *command: str, check: bool = True) -> str:
        self.commands.append(" ".join(command))
        if command[:2] == ("conntrack", "-L"):
            return f"{TRACKED}\nnot a line of it\n"
        addresses = ("10.77.1.1", "198.51.100.20")
        return "".join(f"{n}: eth{n}    inet {ip}/24 brd x scope global eth{n}\n" for n, ip in enumerate(addresses))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    stand_in = Kernel()
    monkeypatch.setattr(router, "run", stand_in.run)
    monkeypatch.setattr(rules, "load", stand_in.load)
    return stand_in


@pytest.fixture
def home(kernel: Kernel) -> Router:
    return Router(ENVIRONMENT)


def ask(of: Router, do: str, **request: Any) -> dict[str, Any]:
    reply = answer(of, {"do": do, **request})
    json.dumps(reply)  # it goes over a socket
    return reply


def test_it_says_what_it_claims_to_be(home: Router) -> None:
    assert ask(home, "profile") == {
        "name": "home", "text": "home", "profile": kinds.PRESETS["home"].profile, "public": "198.51.100.20",
    }  # fmt: skip


def test_it_becomes_another_kind_and_forgets_while_nothing_passes(home: Router, kernel: Kernel) -> None:
    said = ask(home, "set", kind="symmetric")
    assert said == {"text": "the router is symmetric now, and remembers nothing"}
    assert ask(home, "profile")["profile"]["mapping"] == "address-and-port-dependent"
    still, forget, passing = (
        next(number for number, command in enumerate(kernel.commands) if re.search(pattern, command))
        for pattern in ("nft table ip lab_frozen", "conntrack -F", "nft destroy table ip lab_frozen")
    )
    assert still < forget < passing
    assert [event["verb"] for event in ask(home, "history")["events"]] == ["set"]


def test_what_the_kernel_cannot_do_is_unsupported_and_changes_nothing(home: Router, kernel: Kernel) -> None:
    kernel.refuses = "alg-on"
    said = ask(home, "set", kind="sip-alg")
    assert said["exit"] == 127
    assert said["refused"].startswith("unsupported: this kernel does not load")
    assert ask(home, "profile")["name"] == "home"
    assert "mapping-endpoint-independent" in kernel.loaded
    assert kernel.commands[-1] == "nft destroy table ip lab_frozen"
    assert [event["verb"] for event in ask(home, "history")["events"]] == ["flush"]  # that much was done


def test_a_kind_that_the_kernel_refuses_leaves_a_rebound_router_rebound(home: Router, kernel: Kernel) -> None:
    ask(home, "set", kind="port-preserving")
    ask(home, "rebind")
    kernel.refuses = "alg-on"
    ask(home, "set", kind="sip-alg")
    kernel.refuses = ""
    ask(home, "flush")
    assert kernel.variables["PORTS"] == "52000-52999"


def test_an_impairment_that_is_taken_off_is_told_as_that(home: Router) -> None:
    ask(home, "loss", percent=0)
    assert [event["verb"] for event in ask(home, "history")["events"]] == ["loss off"]


@pytest.mark.parametrize(
    ("do", "request_", "complaint"),
    [
        ("set", {"kind": "symetric"}, "symetric: unknown; nearest: symmetric"),
        ("lifetime", {"seconds": "long"}, "lifetime=long: must be a whole number"),
        ("reboot", {"seconds": 0}, "reboot 0: must be from 1 to 60 seconds"),
        ("loss", {"percent": 101}, "101"),
        ("block-audio", {"way": "up"}, "block-audio up: must be one of in, out, both, off"),
        ("delay", {"milliseconds": -1}, "-1"),
        ("drop-next", {"pattern": ""}, "pattern"),
    ],
)
def test_a_mistake_is_one_line(home: Router, do: str, request_: dict[str, Any], complaint: str) -> None:
    said = ask(home, do, **request_)
    assert said["exit"] == 2
    assert complaint in said["refused"]
    assert "\n" not in said["refused"]
    assert ask(home, "history")["events"] == []


def test_after_a_rebind_the_ports_are_others(home: Router, kernel: Kernel) -> None:
    ask(home, "rebind")
    assert kernel.variables["PORTS"] == "52000-52999"
    ask(home, "rebind")
    assert kernel.variables["PORTS"] == "50000-50999"


def test_a_router_that_keeps_ports_has_lost_them_after_a_rebind(home: Router, kernel: Kernel) -> None:
    ask(home, "set", kind="port-preserving")
    assert kernel.variables["PORTS"] == ""
    ask(home, "rebind")
    assert kernel.variables["PORTS"] == "52000-52999"
    ask(home, "set", kind="port-preserving")
    assert kernel.variables["PORTS"] == ""


def test_its_public_address_goes_to_and_fro(home: Router, kernel: Kernel) -> None:
    assert ask(home, "change-ip")["text"] == "the public address is 198.51.100.21 now; it was 198.51.100.20"
    assert kernel.variables["WAN_IP"] == "198.51.100.21"
    assert ask(home, "profile")["public"] == "198.51.100.21"
    assert "ip route replace default via 198.51.100.1 dev eth1" in kernel.commands
    assert ask(home, "change-ip")["text"] == "the public address is 198.51.100.20 now; it was 198.51.100.21"


def test_an_axis_is_changed_and_the_kind_keeps_its_name(home: Router) -> None:
    ask(home, "set", kind="cgnat")
    ask(home, "lifetime", seconds="5")
    ask(home, "lifetime", seconds="9")
    assert ask(home, "profile")["name"] == "cgnat,lifetime=9"


@pytest.mark.parametrize("end", [{"do": "block-udp", "on": False}, {"do": "clear"}])
def test_udp_is_blocked_before_the_router_which_stays_of_its_kind(
    home: Router, kernel: Kernel, end: dict[str, Any]
) -> None:
    assert ask(home, "block-udp", on=True)["text"] == "UDP is blocked"
    assert "lab_blocked" in kernel.commands[-1]
    assert "udp drop" in kernel.commands[-1]
    assert ask(home, "profile")["name"] == "home"
    assert '"udp": "blocked"' in ask(home, "show")["text"]
    answer(home, dict(end))
    assert "nft destroy table ip lab_blocked" in kernel.commands[-2:]
    assert '"udp": "passed"' in ask(home, "show")["text"]
    verbs = [event["verb"] for event in ask(home, "history")["events"]]
    assert verbs == ["block-udp", "block-udp off" if "on" in end else "clear"]


@pytest.mark.parametrize(("way", "rules_"), [("in", 1), ("out", 1), ("both", 2)])
def test_sound_is_blocked_in_one_direction_or_in_both_until_it_is_let_pass(
    home: Router, kernel: Kernel, way: str, rules_: int
) -> None:
    assert ask(home, "block-audio", way=way)["text"] == f"sound is blocked: {way}"
    assert kernel.commands[-1].count("@th,64,2 2 drop") == rules_
    assert ('iifname "eth0"' in kernel.commands[-1]) == (way != "in")
    assert ('oifname "eth0"' in kernel.commands[-1]) == (way != "out")
    assert f'"sound blocked": "{way}"' in ask(home, "show")["text"]
    for end in ({"do": "block-audio", "way": "off"}, {"do": "clear"}):
        answer(home, dict(end))
        assert kernel.commands[-1] == "nft destroy table ip lab_muted"
    assert '"sound blocked": "off"' in ask(home, "show")["text"]
    verbs = [event["verb"] for event in ask(home, "history")["events"]]
    assert verbs == [f"block-audio {way}", "block-audio off", "clear"]


@pytest.mark.parametrize("kind", ["none", "one-to-one"])
def test_what_gives_no_ports_gives_no_others(home: Router, kind: str) -> None:
    ask(home, "set", kind=kind)
    said = ask(home, "rebind")
    assert said == {"refused": f"rebind: a router of kind {kind} gives no ports, and remembers nothing", "exit": 2}


@pytest.mark.parametrize("kind", ["none", "one-to-one"])
def test_where_each_phone_has_a_public_address_none_of_them_changes(home: Router, kernel: Kernel, kind: str) -> None:
    ask(home, "set", kind=kind)
    before = len(kernel.commands)
    assert ask(home, "change-ip")["refused"].startswith(f"change-ip: a router of kind {kind} leaves each phone")
    assert len(kernel.commands) == before


@pytest.mark.parametrize(
    ("impair", "said"),
    [
        (lambda home: ask(home, "block-udp", on=True), "UDP is blocked"),
        (lambda home: setattr(home.impairments, "_delay_ms", 40.0), "every packet takes 40 ms longer"),
        (lambda home: setattr(home.impairments, "_loss_percent", 5.0), "5 % of the packets are lost"),
        (lambda home: home.impairments._patterns.append(read_pattern("INVITE *")), "messages wait to be dropped"),
    ],
)
@pytest.mark.parametrize(("verb", "more"), [("set", {"kind": "symmetric"}), ("lifetime", {"seconds": "9"})])
def test_no_router_changes_on_a_line_on_which_it_could_not_be_measured(
    home: Router, impair: Callable[[Router], object], said: str, verb: str, more: dict[str, str]
) -> None:
    impair(home)
    refused = ask(home, verb, **more)
    assert refused == {"refused": f"{verb}: {said}: no router is measured so; `clear` first, and then again", "exit": 2}
    assert ask(home, "profile")["name"] == "home"
    ask(home, "clear")
    assert "text" in ask(home, verb, **more)


def test_what_remembers_nothing_has_no_lifetime(home: Router) -> None:
    ask(home, "set", kind="one-to-one")
    assert "remembers nothing" in ask(home, "lifetime", seconds="9")["refused"]


def test_show_has_the_mappings_with_the_time_that_they_have_left(home: Router) -> None:
    text = ask(home, "show")["text"]
    assert re.search(r"udp 10\.77\.1\.100:5060 +198\.51\.100\.20:50010 +198\.51\.100\.10:5060 +\? +27 s$", text, re.M)
    assert "public address 198.51.100.20" in text


def test_a_line_of_the_mappings_that_is_none_is_left_out() -> None:
    assert entry("tcp 6") is None
    assert entry("conntrack v1.4.8 (conntrack-tools): 3 flow entries have been shown.") is None


def test_a_router_without_its_addresses_does_not_start(kernel: Kernel) -> None:
    with pytest.raises(Refused, match=r"no interface bears 198\.51\.100\.77"):
        Router({**ENVIRONMENT, "WAN_IP": "198.51.100.77"})


class Away:
    """Stands in the place of the time that a router is switched off: it lasts until it is told to end."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()

    def last(self, seconds: float) -> str:
        self.began.set()
        assert self.ended.wait(10)
        return f"away for {seconds:g} s"


def test_a_router_that_is_away_still_says_what_it_is_and_did(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over its socket: the observer waits five seconds for a history, and a reboot may take sixty."""
    monkeypatch.setattr(control, "ROOM", tmp_path)
    monkeypatch.setattr(control, "SERVING", tmp_path / "serving")
    for name, value in {**ENVIRONMENT, "ROUTER": "nat"}.items():
        monkeypatch.setenv(name, value)
    away, stopped = Away(), threading.Event()
    monkeypatch.setattr(Router, "reboot", lambda _, seconds: away.last(seconds))
    monkeypatch.setattr(History, "follow", lambda _: None)
    monkeypatch.setattr(router, "until_stopped", stopped.wait)  # of signals, which come to the main thread only
    with ThreadPoolExecutor() as pool:
        try:
            process = pool.submit(router.main)
            control.await_room("nat", 5)
            rebooting = pool.submit(control.ask, "nat", {"do": "reboot", "seconds": 60})
            assert away.began.wait(5)
            assert control.ask("nat", {"do": "history"}, 5)["events"] == []
            assert control.ask("nat", {"do": "profile"}, 5)["name"] == "home"
            assert "public address" in control.ask("nat", {"do": "show"}, 5)["text"]
            flushing = pool.submit(control.ask, "nat", {"do": "flush"})
            with pytest.raises(TimeoutError):
                flushing.result(timeout=0.2)
            assert not any("conntrack -F" in command for command in kernel.commands)
            away.ended.set()
            assert rebooting.result(5) == {"text": "away for 60 s"}
            assert flushing.result(5) == {"text": "all mappings are forgotten"}
            told = control.ask("nat", {"do": "history"}, 5)["events"]
            assert [event["verb"] for event in told] == ["reboot", "flush"]
        finally:
            away.ended.set()
            stopped.set()
    assert process.result(5) == 0
