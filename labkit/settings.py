"""The lab's settings: what the environment and .env say, and the addresses that follow from the subnets.

compose.yaml has a default for each address; here the same names are derived, so that whoever wants a second lab sets
a project name and two subnets and nothing else.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labkit.outcome import Mistake
from nat import kinds

ROOT = Path(__file__).resolve().parent.parent
DOTENV = ROOT / ".env"
OUT = ROOT / "out"

DEFAULTS = {"LAB_PROJECT": "sip-nat-lab", "HOME_SUBNET": "10.77.1.0/24", "INTERNET_SUBNET": "198.51.100.0/24"}
# What Docker calls Bob's home, where he has one (inside it has the numbers of Alice's). Not given: the one after hers.
BOB_HOME = "BOB_HOME_SUBNET"
# Variable -> (subnet, last octet): the contract of compose.yaml and of its overlays.
HOSTS = {
    "ALICE_IP": ("HOME_SUBNET", 100),
    "BOB_HOME_IP": ("HOME_SUBNET", 110),
    "NAT_LAN_IP": ("HOME_SUBNET", 1),
    "HOME_GATEWAY": ("HOME_SUBNET", 254),
    "NAT_WAN_IP": ("INTERNET_SUBNET", 20),
    "NAT_WAN_IP2": ("INTERNET_SUBNET", 21),
    "ALICE_FACE_IP": ("INTERNET_SUBNET", 100),
    "PROXY_IP": ("INTERNET_SUBNET", 10),
    "BOB_IP": ("INTERNET_SUBNET", 200),
    "CORE_IP": ("INTERNET_SUBNET", 1),
    "REFLECTOR_IP": ("INTERNET_SUBNET", 30),
    "REFLECTOR_IP2": ("INTERNET_SUBNET", 31),
    "INTERNET_GATEWAY": ("INTERNET_SUBNET", 254),
    "NAT_BOB_WAN_IP": ("INTERNET_SUBNET", 40),
    "NAT_BOB_WAN_IP2": ("INTERNET_SUBNET", 41),
    "BOB_FACE_IP": ("INTERNET_SUBNET", 140),
    "BOB_HOME_FACE_IP": ("INTERNET_SUBNET", 110),
    "BOB_HOME_GATEWAY": (BOB_HOME, 254),
    "NAT_BOB_LAN_DOCKER_IP": (BOB_HOME, 1),
    "BOB_HOME_DOCKER_IP": (BOB_HOME, 100),
}
# Topology (as LAB_TOPOLOGY has it) -> the variables of HOSTS that only it has a use for: Bob's place.
BOBS = {
    "one-home": {"BOB_IP"},
    "two-homes": {
        "NAT_BOB_WAN_IP", "NAT_BOB_WAN_IP2", "BOB_FACE_IP", "BOB_HOME_GATEWAY", "NAT_BOB_LAN_DOCKER_IP",
        "BOB_HOME_DOCKER_IP",
    },
    "same-home": {"BOB_HOME_IP", "BOB_HOME_FACE_IP"},
}  # fmt: skip
# A router may become of any kind while the lab runs, and some have ports or a public number for each of so many hosts
# (nat/rules.py HOSTS): from the phone's number on. Its first are the phone's and the probe's (nat/pod.py NEIGHBOURS).
HOSTS_OF_A_HOME, PROBED = 16, 3
OF_A_HOME = {"ALICE_IP", "ALICE_FACE_IP", "BOB_FACE_IP"}
# Topology -> (overlay in the folder topologies, the kind of NAT that it is another word for).
TOPOLOGIES = {
    "one-home": ("", ""),
    "two-homes": ("two-homes.yaml", ""),
    "same-home": ("same-home.yaml", ""),
    "cgnat": ("", "cgnat"),
    "no-nat": ("", "none"),
}
REMEDIES = ("received", "rport", "contact", "record_route", "flow", "keepalive", "relay")
PHONES = ("sipp", "baresip")
PYTHONS = ("pypy3", "python3")  # of the proxy's image, the usual one first
OVERLAYS = {"LAB_ALICE": "baresip.yaml", "LAB_BOB": "baresip-bob.yaml"}  # of the folder phones
TRANSPORTS = ("udp", "tcp", "tls")
PAGE_PORT, NO_PAGE = "LAB_PAGE_PORT", ROOT / "topologies" / "no-page.yaml"
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
    def layers(self) -> list[Path]:
        """The compose files, and the one that takes the page away where none is wanted."""
        return [*self.files, *([NO_PAGE] if self.values[PAGE_PORT] == "0" else [])]

    @property
    def project(self) -> str:
        """The name that containers, networks and volumes begin with."""
        return self.values["LAB_PROJECT"]

    @property
    def subnets(self) -> list[str]:
        """The variables of the subnets that are networks of this lab."""
        return ["HOME_SUBNET", "INTERNET_SUBNET", *([BOB_HOME] if "bob" in self.routers else [])]

    @property
    def routers(self) -> dict[str, str]:
        """Whose home it is, and the service that is its router."""
        return {"alice": "nat"} | ({"bob": "nat-bob"} if self.values["LAB_TOPOLOGY"] == "two-homes" else {})

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
        """Return HOME_SUBNET, INTERNET_SUBNET or BOB_HOME_SUBNET."""
        return ipaddress.IPv4Network(self.values[name])


def load(
    without: str = "", alice: str = "", transport: str = "", bob: str = "", bob_transport: str = "",
    *, nat: str = "", bob_nat: str = "", topology: str = "", page: str | None = "0",
    project: str = "", home_subnet: str = "", internet_subnet: str = "",
) -> Settings:  # fmt: skip
    """Return the settings. Raises Mistake for a value that no lab can have, all such values at once.

    With a `project`, which has its subnets with it, nothing counts that the environment says of addresses.

    What is not given is as in the environment or in .env; a phone is a SIPp then, or baresip for TLS, and speaks UDP,
    Bob's what Alice's speaks; a router is `home`, in the topology one-home. `page` is the port of the live page, "0"
    for none, None for what the environment says, which may be nothing.
    """
    given = {**_dotenv(), **os.environ}
    if project:
        given = {name: value for name, value in given.items() if name not in {*HOSTS, BOB_HOME}}
        given |= dict(zip(DEFAULTS, (project, home_subnet, internet_subnet), strict=True))
    values = {name: given.get(name) or default for name, default in DEFAULTS.items()}
    mistakes = _choose_topology(values, given, {"--topology": topology, "--nat": nat, "--bob-nat": bob_nat})
    mistakes += _derive(values, given)
    overlay = given.get("LAB_OVERLAY")  # one more compose file of the user's own
    if overlay and not Path(overlay).is_file():
        mistakes.append(f"LAB_OVERLAY={overlay}: no such file")
    unknown = set(without.replace(",", " ").split()) - set(REMEDIES)
    if unknown:
        mistakes.append(f"--without {','.join(sorted(unknown))}: unknown; the remedies are {', '.join(REMEDIES)}")
    values["LAB_TRANSPORT"] = transport or given.get("LAB_TRANSPORT") or "udp"
    values["LAB_BOB_TRANSPORT"] = bob_transport or given.get("LAB_BOB_TRANSPORT") or values["LAB_TRANSPORT"]
    mistakes += _choose_phones(values, {"alice": alice, "bob": bob})
    values["PROXY_PYTHON"] = given.get("PROXY_PYTHON") or PYTHONS[0]
    if values["PROXY_PYTHON"] not in PYTHONS:
        mistakes.append(f"PROXY_PYTHON={values['PROXY_PYTHON']}: unknown; the proxy's image has {', '.join(PYTHONS)}")
    if mistakes:
        raise Mistake("; ".join(mistakes))
    values[PAGE_PORT] = given.get(PAGE_PORT, "") if page is None else page
    values |= {"WITHOUT": ",".join(without.replace(",", " ").split()), "ALICE_DOES": "wait"}
    if given.get("BASE_IMAGE"):
        values["BASE_IMAGE"] = given["BASE_IMAGE"]
    return Settings(values, _files(values, overlay))


def load_running(started: Mapping[str, str]) -> Settings:
    """Return the settings of a lab that is up: `started` are the variables of its observer.

    The project's name, addresses and overlay are as the environment has them: by these it was found. The routers are of
    the kinds that they were started as, whatever they have become.
    """
    names = ("LAB_ALICE", "LAB_TRANSPORT", "LAB_BOB", "LAB_BOB_TRANSPORT")
    return load(
        "", *(started.get(name, "") for name in names), nat=started.get("NAT_TYPE", ""),
        bob_nat=started.get("NAT_TYPE_BOB", ""), topology=started.get("LAB_TOPOLOGY") or "one-home",
        page=started.get(PAGE_PORT) or "0",
    )  # fmt: skip


def _files(values: Mapping[str, str], overlay: str | None) -> list[Path]:
    """Return the compose files: the topology, the phones, and what the user adds."""
    layer, _ = TOPOLOGIES[values["LAB_TOPOLOGY"]]
    files = [ROOT / "compose.yaml", *([ROOT / "topologies" / layer] if layer else [])]
    files += [ROOT / "phones" / file for name, file in OVERLAYS.items() if values[name] != "sipp"]
    return [*files, *([Path(overlay)] if overlay else [])]


def _choose_topology(values: dict[str, str], given: Mapping[str, str], options: Mapping[str, str]) -> list[str]:
    """Put LAB_TOPOLOGY, NAT_TYPE and NAT_TYPE_BOB into `values`, as the router reads them; return what cannot be.

    LAB_TOPOLOGY is one-home, two-homes or same-home: cgnat and no-nat are kinds of NAT in one home.
    """
    mistakes: list[str] = []
    name = options["--topology"] or given.get("LAB_TOPOLOGY") or "one-home"
    if name not in TOPOLOGIES:
        asked = f"--topology {name}" if options["--topology"] else f"LAB_TOPOLOGY={name}"
        mistakes.append(f"{asked}: unknown; the topologies are {', '.join(TOPOLOGIES)}")
    layer, implied = TOPOLOGIES.get(name, ("", ""))
    values["LAB_TOPOLOGY"] = name if layer else "one-home"
    inherited = {variable: given.get(variable, "") for variable in ("NAT_TYPE", "NAT_TYPE_BOB")}
    if implied and options["--topology"]:
        inherited["NAT_TYPE"] = ""  # an option counts more than the environment
    if name != "two-homes":
        inherited["NAT_TYPE_BOB"] = ""
        if options["--bob-nat"] and name in TOPOLOGIES:
            mistakes.append(f"--bob-nat {options['--bob-nat']}: Bob has a router with --topology two-homes only")
    for variable, option in (("NAT_TYPE", "--nat"), ("NAT_TYPE_BOB", "--bob-nat")):
        text = options[option] or inherited[variable]
        asked = f"{option} {text}" if options[option] else f"{variable}={text}"
        values[variable] = (implied if variable == "NAT_TYPE" else "") or kinds.BASE
        if not text:
            continue
        try:
            values[variable] = kind_text(text)
        except kinds.UnknownKind as error:
            known = asked.removesuffix(text) if str(error).startswith(text) else f"{asked}: "
            mistakes.append(f"{known}{error}")
            continue
        if variable == "NAT_TYPE" and implied and values[variable] != implied:
            mistakes.append(f"{asked}: the topology {name} is one home with --nat {implied}; say one of the two")
    return mistakes


def kind_text(text: str) -> str:
    """Return a kind of NAT as the router reads it: a preset's name, or axes; `text` may name a TOML file.

    Raises kinds.UnknownKind.
    """
    if not text.endswith(".toml"):
        return kinds.parse(text).name
    try:
        table = tomllib.loads(Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise kinds.UnknownKind(f"{text}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise kinds.UnknownKind(f"{text}: {error}") from error
    profile = kinds.from_table(table, Path(text).stem).profile
    return next((name for name, kind in kinds.PRESETS.items() if kind.profile == profile), kinds.as_text(profile))


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
    for name, example in (*list(DEFAULTS.items())[1:], (BOB_HOME, "10.77.2.0/24")):
        if name == BOB_HOME:
            values[name] = given.get(name) or _next_to(networks.get("HOME_SUBNET"), example)
        try:
            networks[name] = ipaddress.IPv4Network(values[name])
            if networks[name].prefixlen != 24:
                raise ValueError
        except ValueError:
            mistakes.append(f"{name}={values[name]}: must be a /24 IPv4 network, as in {example}")
            networks.pop(name, None)
    mistakes += _collisions(networks, values["LAB_TOPOLOGY"] == "two-homes")
    for name, (subnet, octet) in HOSTS.items():
        if subnet in networks:
            values[name] = given.get(name) or str(networks[subnet].network_address + octet)
            if not _is_in(networks[subnet], values[name]):
                mistakes.append(f"{name}={values[name]}: must be an address in {subnet}={networks[subnet]}")
    return mistakes + _meetings(values, networks)


def _next_to(home: ipaddress.IPv4Network | None, otherwise: str) -> str:
    """Return the /24 after this one, or before it where there is none after it."""
    if home is None:
        return otherwise
    step = -256 if home.network_address.packed[2] == 255 else 256
    return str(ipaddress.IPv4Network((int(home.network_address) + step, 24)))


def _collisions(networks: Mapping[str, ipaddress.IPv4Network], has_two_homes: bool) -> list[str]:
    """Return which subnets are what only another may be."""
    mistakes: list[str] = []
    internet, home, bob = (networks.get(name) for name in ("INTERNET_SUBNET", "HOME_SUBNET", BOB_HOME))
    if internet and any(internet.overlaps(private) for private in PRIVATE):
        mistakes.append(f"INTERNET_SUBNET={internet}: must not be private, as in {DEFAULTS['INTERNET_SUBNET']}")
    elif internet and internet == home:
        mistakes.append(f"HOME_SUBNET={internet}: must differ from INTERNET_SUBNET")
    if has_two_homes and bob and bob in (internet, home):
        mistakes.append(f"{BOB_HOME}={bob}: must differ from HOME_SUBNET and INTERNET_SUBNET")
    return mistakes


def _meetings(values: Mapping[str, str], networks: Mapping[str, ipaddress.IPv4Network]) -> list[str]:
    """Return which addresses of this topology are taken twice, and which leave no room for the hosts of a home."""
    mistakes: list[str] = []
    idle = set[str]().union(*(BOBS[topology] for topology in BOBS if topology != values["LAB_TOPOLOGY"]))
    hosts = {
        name: ipaddress.IPv4Address(values[name])
        for name, (subnet, _) in HOSTS.items()
        if name not in idle and subnet in networks and _is_in(networks[subnet], values[name])
    }
    for name in sorted(OF_A_HOME & hosts.keys()):
        last = networks[HOSTS[name][0]].broadcast_address - HOSTS_OF_A_HOME
        if hosts[name] > last:
            mistakes.append(f"{name}={hosts[name]}: must be at most {last}: a home has {HOSTS_OF_A_HOME} from there on")
            del hosts[name]
    if values["LAB_TOPOLOGY"] == "same-home":
        mistakes += _outside(hosts)
    for pair in itertools.combinations([name for name in hosts if name not in BOBS["same-home"]], 2):
        low, high = sorted(pair, key=hosts.__getitem__)
        if hosts[high] == hosts[low]:
            mistakes.append(f"{high}={hosts[high]}: is {low} too; give one of the two another address")
        elif low in OF_A_HOME and hosts[high] < hosts[low] + HOSTS_OF_A_HOME:
            mistakes.append(
                f"{high}={hosts[high]}: is one of the {HOSTS_OF_A_HOME} that a home has from {low}={hosts[low]} on; "
                "give one of the two another address"
            )
    return mistakes


def _outside(hosts: Mapping[str, ipaddress.IPv4Address]) -> list[str]:
    """Return which of Bob's addresses lies outside the home that he shares with Alice."""
    if not hosts.keys() >= {"ALICE_IP", "BOB_HOME_IP", "ALICE_FACE_IP", "BOB_HOME_FACE_IP"}:
        return []
    hers, his = hosts["ALICE_IP"], hosts["BOB_HOME_IP"]
    first, last = hers + PROBED, hers + HOSTS_OF_A_HOME - PROBED
    if not first <= his <= last:
        return [f"BOB_HOME_IP={his}: must be from {first} to {last}, of the home of ALICE_IP={hers}"]
    faces = hosts["ALICE_FACE_IP"]
    face = faces + (int(his) - int(hers))
    if hosts["BOB_HOME_FACE_IP"] != face:
        return [
            f"BOB_HOME_FACE_IP={hosts['BOB_HOME_FACE_IP']}: must be {face}, as far from ALICE_FACE_IP={faces} as "
            f"BOB_HOME_IP={his} is from ALICE_IP={hers}"
        ]
    return []


def _is_in(network: ipaddress.IPv4Network, address: str) -> bool:
    try:
        host = ipaddress.IPv4Address(address)
    except ValueError:
        return False
    return host in network and host not in (network.network_address, network.broadcast_address)


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
