"""What can be asked of a router, and what it says to what it cannot do. That it does it is shown in tests/e2e."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from nat import kinds, router, rules
from nat.router import Refused, Router, answer, entry

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
    assert ask(home, "profile") == {"name": "home", "text": "home", "profile": kinds.PRESETS["home"].profile}


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


@pytest.mark.parametrize(
    ("do", "request_", "complaint"),
    [
        ("set", {"kind": "symetric"}, "symetric: unknown; nearest: symmetric"),
        ("lifetime", {"seconds": "long"}, "lifetime=long: must be a whole number"),
        ("reboot", {"seconds": 0}, "reboot 0: must be from 1 to 60 seconds"),
        ("loss", {"percent": 101}, "101"),
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
    assert "ip route replace default via 198.51.100.1 dev eth1" in kernel.commands
    assert ask(home, "change-ip")["text"] == "the public address is 198.51.100.20 now; it was 198.51.100.21"


def test_an_axis_is_changed_and_the_kind_keeps_its_name(home: Router) -> None:
    ask(home, "set", kind="cgnat")
    ask(home, "lifetime", seconds="9")
    assert ask(home, "profile")["name"] == "cgnat,lifetime=9"
    ask(home, "block-udp", on=True)
    assert ask(home, "profile")["profile"]["udp"] == "blocked"
    ask(home, "block-udp", on=False)
    assert ask(home, "profile")["name"] == "cgnat,lifetime=9"


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
