"""`nats`: the kinds of NAT: what they are, where one meets them, and whether this machine's kernel can do them."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable, Mapping

from labkit import engine, images, settings
from labkit.outcome import Exit, Mistake, Unsupported
from nat import kinds
from nat.kinds import BASE, PRESETS, Kind, Profile, Value

# Axis -> (what it says, where that is written).
MEANING = {
    "mapping": ("whether a port of the phone has one public port for all its peers, or others for other peers",
                "RFC 4787 §4.1"),
    "filtering": ("who may send to that public port: anybody, whoever was sent to, or he from that very port only",
                  "RFC 4787 §5"),
    "ports": ("whether the public port is the phone's own where that is free", "RFC 4787 §4.2"),
    "block": ("how many public UDP ports each host of the home may have at once", "RFC 6888 §3, REQ-4"),
    "peer-first": ("whether a mapping stays as it is when the peer's packet comes before the phone's own",
                   "RFC 4787 §4.1, REQ-1"),
    "hairpin": ("whether two phones of one home reach each other by their public ports, and whose address they see",
                "RFC 4787 §6, REQ-9"),
    "lifetime": ("after how many seconds of silence a mapping is forgotten; 0: never", "RFC 4787 §4.3, REQ-5"),
    "refresh": ("whether packets of both directions end the silence, or the phone's own only", "RFC 4787 §4.3, REQ-6"),
    "alg": ("whether the router rewrites SIP messages itself", "RFC 4787 §7, REQ-10"),
    "fragments": ("whether a message that is larger than a packet comes through", "RFC 4787 §10 and §11"),
    "udp": ("whether UDP comes through at all", "RFC 3489 §10.1"),
    "layers": ("how many routers translate, one behind the other", "RFC 6888, RFC 6598"),
}  # fmt: skip
SHORT = {
    "none": "-", "endpoint-independent": "EI", "address-dependent": "AD", "address-and-port-dependent": "APD",
}  # fmt: skip
COLUMNS = ("mapping", "filtering", "ports", "lifetime")  # of the table; the other axes stand under `besides`
LEGEND = (
    "EI endpoint-independent, AD address-dependent, APD address-and-port-dependent, - none; lifetime in seconds.\n"
    "`./lab nats KIND` has all of a kind, and its rules; `./lab up --nat KIND` takes it."
)
NO_IMAGE = "no image yet (`./lab up` builds it)"
# What kinds need of the kernel: (which profiles do, a trial, what is missing where that fails).
TRIALS: tuple[tuple[Callable[[Profile], bool], str, str], ...] = (
    (lambda profile: profile["alg"] == "on",
     "iptables -t raw -A PREROUTING -p udp --dport 5060 -j CT --helper sip && grep -q nf_nat_sip /proc/kallsyms",
     "no SIP helper in this kernel (on the host: `modprobe nf_nat_sip`)"),
    (lambda profile: profile["layers"] == 2,
     "ip link add isp0 type veth peer name isp1 && iptables -t raw -A PREROUTING -i isp0 -j CT --zone 1",
     "this kernel has no connection tracking zones, or no veth"),
    (lambda profile: profile["filtering"] in ("endpoint-independent", "address-dependent")
     or profile["hairpin"] != "none" or profile["refresh"] == "outbound",
     "nft add table ip trial && nft add set ip trial spoken"
     " '{ type inet_service . ipv4_addr; flags dynamic, timeout; timeout 5s; }'",
     "this kernel's nftables have no sets with timeouts"),
    (lambda profile: bool(profile["lifetime"]),
     "nft add table ip trial2 && nft add ct timeout ip trial2 age"
     " '{ protocol udp; l3proto ip; policy = { unreplied : 5, replied : 5 }; }'",
     "this kernel's nftables cannot set lifetimes (ct timeout)"),
)  # fmt: skip

# What delays, loses and drops packets: (its name, a trial, what it is good for), in the order in which they are taken.
IMPAIRMENTS = (
    ("netem", "tc qdisc add dev lo root netem delay 1ms", "delay, loss"),
    ("NFQUEUE", "iptables -t mangle -A OUTPUT -j NFQUEUE --queue-num 0", "delay, loss, drop-next"),
    ("nft", "nft add table ip trial3 && nft add chain ip trial3 lose"
            " && nft add rule ip trial3 lose numgen random mod 100 '<' 5 drop", "loss"),
)  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "kind", nargs="?", default="", metavar="KIND", help="one of them, axes or a TOML file: all of it, and its rules"
    )


def run(given: argparse.Namespace) -> int:
    """Print the table, or one kind."""
    lab = settings.load()
    try:
        text = settings.kind_text(given.kind) if given.kind else ""
    except kinds.UnknownKind as error:
        raise Mistake(f"nats: {error}") from error
    image = _image(lab)
    if text:
        print(one(kinds.parse(text), image))
    else:
        failed = ask(image) if image else None
        rows = [row(kind, here(kind.profile, failed)) for kind in PRESETS.values()]
        ways = [impairments(failed)] if failed is not None else [f"Not asked: {NO_IMAGE}."]
        print("\n".join([heading(), *rows, "", LEGEND, *ways]))
    return Exit.PASS


def heading() -> str:
    """Return the first line of the table."""
    return _line("kind", [*COLUMNS], "besides", "on this machine")


def row(kind: Kind, supported: str) -> str:
    """Return a kind's lines of the table."""
    values = [SHORT.get(str(kind.profile[axis]), str(kind.profile[axis])) for axis in COLUMNS]
    besides = ", ".join(f"{axis} {value}" for axis, value in differing(kind.profile).items() if axis not in COLUMNS)
    return f"\n{_line(kind.name, values, besides, supported)}\n    {kind.what}\n    met in: {kind.where}"


def differing(profile: Profile) -> dict[str, Value]:
    """Return the axes on which a profile is not as `home`."""
    return {axis: value for axis, value in profile.items() if value != PRESETS[BASE].profile[axis]}


def one(kind: Kind, image: str) -> str:
    """Return all of a kind: its axes in full, whether this kernel can do it, the rules that its router would load."""
    supported = here(kind.profile, ask(image) if image else None)
    axes = [f"  {axis:<11} {kind.profile[axis]:<27} {says} ({source})" for axis, (says, source) in MEANING.items()]
    head = [f"{kind.name}: {kind.what}", f"met in: {kind.where}", f"on this machine: {supported}", "", *axes, ""]
    return "\n".join([*head, _rules(kind.name, image)])


def here(profile: Profile, failed: Mapping[int, str] | None) -> str:
    """Say whether this kernel can do a profile; `failed` is what `ask` returned, None: not asked."""
    if failed is None:
        return "not asked"
    reasons = [
        f"{missing}{': ' if failed[number] else ''}{failed[number]}"
        for number, (needs, _, missing) in enumerate(TRIALS)
        if number in failed and needs(profile)
    ]
    return f"unsupported: {'; '.join(reasons)}" if reasons else "supported"


def impairments(failed: Mapping[int, str]) -> str:
    """Return by what this kernel can make a bad line of a good one."""
    said = [
        f"{name} ({good_for}){': unsupported: ' + (failed[number] or 'no') if number in failed else ''}"
        for number, (name, _, good_for) in enumerate(IMPAIRMENTS, len(TRIALS))
    ]
    return f"`./lab nat` makes a bad line by the first that can: {'; '.join(said)}."


def ask(image: str) -> dict[int, str]:
    """Try what kinds need of this kernel, in a container that is thrown away.

    Returns {number of a trial that failed: what was said then}, of TRIALS and then IMPAIRMENTS. Raises Mistake when the
    container does not run.
    """
    asked = [trial for _, trial, _ in (*TRIALS, *IMPAIRMENTS)]
    trials = (f"said=$({{ {trial}; }} 2>&1) || echo {number} $said\n" for number, trial in enumerate(asked))
    done = _in_image(image, ["sh", "-c", f"{''.join(trials)}true"], "--cap-add", "NET_ADMIN")
    if done.returncode != 0:
        raise Mistake(f"this kernel could not be asked: {' '.join(done.stderr.split())}")
    failed = (line.partition(" ") for line in done.stdout.splitlines())
    return {int(number): said for number, _, said in failed}


def check(lab: settings.Settings) -> None:
    """Raise Unsupported for a kind of these settings that this kernel cannot do. The images must be here.

    Whatever `home` needs too is not asked for: the lab's router says it, as fast.
    """
    for home in lab.routers:
        option, variable = ("--nat", "NAT_TYPE") if home == "alice" else ("--bob-nat", "NAT_TYPE_BOB")
        profile = kinds.parse(lab.values[variable]).profile
        if any(needs(profile) and not needs(PRESETS[BASE].profile) for needs, _, _ in TRIALS):
            supported = here(profile, ask(f"sip-nat-lab/nat:{lab.values['LAB_TAG']}"))
            if supported != "supported":
                raise Unsupported(f"{option} {lab.values[variable]}: {supported}")


def _image(lab: settings.Settings) -> str:
    """Return the router's image as these sources make it, or "" where it is not here: no question builds one."""
    if not engine.is_running():
        return ""
    base = lab.values.get("BASE_IMAGE") or images.PUBLIC_BASE
    name = f"sip-nat-lab/nat:{images.fingerprint(base)}"
    return name if images.is_here(base, name) else ""


def _rules(kind: str, image: str) -> str:
    if not image:
        return f"its rules: not asked: {NO_IMAGE}"
    done = _in_image(image, ["natctl", "rules", kind])
    if done.returncode != 0:
        raise Mistake(f"nats {kind}: no rules: {' '.join(done.stderr.split())}")
    return f"its rules, in the order in which they are loaded:\n\n{done.stdout.rstrip()}"


def _in_image(image: str, command: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a container without a network and without rights but these."""
    return subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--cap-drop", "ALL", *options, image, *command],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def _line(name: str, values: list[str], besides: str, supported: str) -> str:
    mapping, filtering, ports, lifetime = values
    return f"{name:<19}{mapping:<9}{filtering:<11}{ports:<11}{lifetime:<10}{besides:<19}{supported}"
