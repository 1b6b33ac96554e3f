"""The lab's settings: what the environment and .env say, and the addresses that follow from the two subnets.

compose.yaml has a default for each address; here the same names are derived, so that whoever wants a second lab sets
a project name and two subnets and nothing else.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labkit.outcome import Mistake

ROOT = Path(__file__).resolve().parent.parent
DOTENV = ROOT / ".env"
OUT = ROOT / "out"

DEFAULTS = {"LAB_PROJECT": "sip-nat-lab", "HOME_SUBNET": "10.77.1.0/24", "INTERNET_SUBNET": "198.51.100.0/24"}
# Variable -> (subnet, last octet): the contract of compose.yaml.
HOSTS = {
    "ALICE_IP": ("HOME_SUBNET", 100),
    "NAT_LAN_IP": ("HOME_SUBNET", 1),
    "HOME_GATEWAY": ("HOME_SUBNET", 254),
    "NAT_WAN_IP": ("INTERNET_SUBNET", 20),
    "PROXY_IP": ("INTERNET_SUBNET", 10),
    "BOB_IP": ("INTERNET_SUBNET", 200),
    "CORE_IP": ("INTERNET_SUBNET", 1),
    "REFLECTOR_IP": ("INTERNET_SUBNET", 30),
    "REFLECTOR_IP2": ("INTERNET_SUBNET", 31),
    "INTERNET_GATEWAY": ("INTERNET_SUBNET", 254),
}
REMEDIES = ("received", "rport", "contact", "record_route", "flow", "keepalive")
PHONES = ("sipp", "baresip")
OVERLAYS = {"LAB_ALICE": "baresip.yaml", "LAB_BOB": "baresip-bob.yaml"}  # of the folder phones
TRANSPORTS = ("udp", "tcp", "tls")
# What the judge takes for a home, so the Internet must not have such numbers (RFC 1918, RFC 6598, RFC 3927).
PRIVATE = tuple(
    map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"))
)


@dataclass(slots=True)
class Settings:
    """`values` are the variables that compose.yaml reads; `files` are the compose files, the topology first."""

    values: dict[str, str]
    files: list[Path]

    @property
    def project(self) -> str:
        """The name that containers, networks and volumes begin with."""
        return self.values["LAB_PROJECT"]

    @property
    def phones(self) -> set[str]:
        """Which phones there are."""
        return {self.values["LAB_ALICE"], self.values["LAB_BOB"]}

    @property
    def has_tls(self) -> bool:
        """Whether a phone speaks TLS: only then does the lab need certificates."""
        return "tls" in (self.values["LAB_TRANSPORT"], self.values["LAB_BOB_TRANSPORT"])

    def environment(self) -> dict[str, str]:
        """Return the environment for `docker compose`."""
        return {**os.environ, **self.values}

    def subnet(self, name: str) -> ipaddress.IPv4Network:
        """Return HOME_SUBNET or INTERNET_SUBNET."""
        return ipaddress.IPv4Network(self.values[name])


def load(
    without: str = "", alice: str = "", transport: str = "", bob: str = "", bob_transport: str = ""
) -> Settings:
    """Return the settings. Raises Mistake for a value that no lab can have, all such values at once.

    What is not given is as in the environment or in .env; a phone is a SIPp then, or baresip for TLS, and speaks UDP,
    Bob's what Alice's speaks.
    """
    given = {**_dotenv(), **os.environ}
    values = {name: given.get(name) or default for name, default in DEFAULTS.items()}
    mistakes = _derive(values, given)
    values["NAT_TYPE"] = given.get("NAT_TYPE") or "home"
    kinds = sorted(path.stem for path in (ROOT / "nat" / "kinds").glob("*.sh"))
    if values["NAT_TYPE"] not in kinds:
        mistakes.append(f"NAT_TYPE={values['NAT_TYPE']}: unknown; the kinds are {', '.join(kinds)}")
    overlay = given.get("LAB_OVERLAY")  # one more compose file of the user's own
    if overlay and not Path(overlay).is_file():
        mistakes.append(f"LAB_OVERLAY={overlay}: no such file")
    unknown = set(without.replace(",", " ").split()) - set(REMEDIES)
    if unknown:
        mistakes.append(f"--without {','.join(sorted(unknown))}: unknown; the remedies are {', '.join(REMEDIES)}")
    values["LAB_TRANSPORT"] = transport or given.get("LAB_TRANSPORT") or "udp"
    values["LAB_BOB_TRANSPORT"] = bob_transport or given.get("LAB_BOB_TRANSPORT") or values["LAB_TRANSPORT"]
    mistakes += _choose_phones(values, {"alice": alice, "bob": bob})
    if mistakes:
        raise Mistake("; ".join(mistakes))
    values |= {"WITHOUT": ",".join(without.replace(",", " ").split()), "ALICE_DOES": "wait"}
    if given.get("BASE_IMAGE"):
        values["BASE_IMAGE"] = given["BASE_IMAGE"]
    files = [ROOT / "compose.yaml"]
    files += [ROOT / "phones" / file for name, file in OVERLAYS.items() if values[name] != "sipp"]
    if overlay:
        files.append(Path(overlay))
    return Settings(values, files)


def _choose_phones(values: dict[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Put LAB_ALICE and LAB_BOB into `values`; return what cannot be."""
    mistakes: list[str] = []
    for option, speaks in (("alice", "LAB_TRANSPORT"), ("bob", "LAB_BOB_TRANSPORT")):
        transport = values[speaks]
        phone = wanted[option] or ("baresip" if transport == "tls" else "sipp")
        values[f"LAB_{option.upper()}"] = phone
        if transport not in TRANSPORTS:
            mistakes.append(f"{speaks}={transport}: unknown; the transports are {', '.join(TRANSPORTS)}")
        if phone not in PHONES:
            mistakes.append(f"--{option} {phone}: unknown; the phones are {', '.join(PHONES)}")
        elif phone == "sipp" and transport == "tls":
            mistakes.append(f"--{option} sipp: Debian's SIPp speaks no TLS; baresip does")
    return mistakes


def remember(name: str, value: str) -> None:
    """Write one variable into .env, so that a plain `docker compose up` finds it; other lines stay."""
    lines = DOTENV.read_text(encoding="utf-8").splitlines() if DOTENV.exists() else []
    lines = [line for line in lines if not line.startswith(f"{name}=")] + [f"{name}={value}"]
    DOTENV.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _derive(values: dict[str, str], given: Mapping[str, str]) -> list[str]:
    """Put the addresses that follow from the subnets, or were given, into `values`; return what no lab can have."""
    mistakes: list[str] = []
    networks: dict[str, ipaddress.IPv4Network] = {}
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", values["LAB_PROJECT"]):
        mistakes.append(f"LAB_PROJECT={values['LAB_PROJECT']}: must be of lower-case letters, digits, - and _")
    for name in ("HOME_SUBNET", "INTERNET_SUBNET"):
        try:
            networks[name] = ipaddress.IPv4Network(values[name])
            if networks[name].prefixlen != 24:
                raise ValueError
        except ValueError:
            mistakes.append(f"{name}={values[name]}: must be a /24 IPv4 network, as in {DEFAULTS[name]}")
            networks.pop(name, None)
    internet = networks.get("INTERNET_SUBNET")
    if internet and any(internet.overlaps(private) for private in PRIVATE):
        mistakes.append(f"INTERNET_SUBNET={internet}: must not be private, as in {DEFAULTS['INTERNET_SUBNET']}")
    elif internet and internet == networks.get("HOME_SUBNET"):
        mistakes.append(f"HOME_SUBNET={internet}: must differ from INTERNET_SUBNET")
    for name, (subnet, octet) in HOSTS.items():
        if subnet in networks:
            values[name] = given.get(name) or str(networks[subnet].network_address + octet)
            if not _is_in(networks[subnet], values[name]):
                mistakes.append(f"{name}={values[name]}: must be an address in {subnet}={networks[subnet]}")
    return mistakes


def _is_in(network: ipaddress.IPv4Network, address: str) -> bool:
    try:
        return ipaddress.IPv4Address(address) in network
    except ValueError:
        return False


def _dotenv() -> dict[str, str]:
    if not DOTENV.exists():
        return {}
    pairs = (line.partition("=") for line in DOTENV.read_text(encoding="utf-8").splitlines())
    return {name.strip(): _unquoted(value) for name, equals, value in pairs if equals and not name.startswith("#")}


def _unquoted(value: str) -> str:
    """Return a value as compose reads it: without its quotes, or without the comment behind it."""
    value = value.strip()
    if value[:1] in {'"', "'"} and value.find(value[0], 1) > 0:
        return value[1 : value.find(value[0], 1)]
    return value.partition(" #")[0].strip()
