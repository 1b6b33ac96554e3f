"""A phone's pod: the address and the routes of a host in a home, so that any phone's image can join it unchanged.

    python3 -m nat.pod          settle, measure the router before any SIP flows; then hold the network namespace
    python3 -m nat.pod measure  have it settle and measure again, after the router was changed (`remeasure`)

It answers on NAME-home.sock: {"do": "measure", "quick": false} -> what probe.json has. Two hosts more stand beside the
phone's address, and the probe is theirs: the phone's own mappings stay untouched.
"""

from __future__ import annotations

import json
import os
import sys
import threading

from nat import kinds, probe
from nat.router import run
from nat.rules import learns
from observer.control import ROOM, Request, ask, await_room, serve, until_stopped

# A phone goes on talking when it is told that nobody listens at a port. SIPp's socket does not: it is connected, so the
# kernel refuses what comes from elsewhere than the SDP says, and whoever sent that and is a SIPp falls silent.
DEAF = ("table ip lab_deaf { chain errors { type filter hook input priority 0; "
        "icmp type destination-unreachable icmp code port-unreachable drop; }; }")  # fmt: skip
NEIGHBOURS = (1, 2)  # the probe's hosts: the phone's number and so many
START_S = 30.0
BROKEN = 3


def plus(address: str, number: int) -> str:
    """Return the IPv4 address that is so many further in its network."""
    network, _, last = address.rpartition(".")
    return f"{network}.{int(last) + number}"


def settle(profile: kinds.Profile) -> list[str]:
    """Take the addresses and the default route that this router asks for; return the probe's addresses.

    Behind a router that translates nothing the home has public numbers. Phones ask the kernel for theirs.
    """
    inside, face = os.environ["PHONE_IP"], os.environ["FACE_IP"]
    public = profile["mapping"] == "none"
    interface = _interface()
    for number in (0, *NEIGHBOURS):
        run("ip", "address", "replace", f"{plus(inside, number)}/24", "dev", interface)
        if public:
            run("ip", "address", "replace", f"{plus(face, number)}/32", "dev", interface)
        else:
            run("ip", "address", "del", f"{plus(face, number)}/32", "dev", interface, check=False)
    docker = os.environ["PHONE_DOCKER_IP"]
    if docker != inside:
        run("ip", "address", "del", f"{docker}/24", "dev", interface, check=False)
        # Where the machine would stand in this network, had it a foot in it: the probe looks.
        run("ip", "route", "replace", f"{os.environ['HOME_GATEWAY']}/32", "dev", interface, "src", inside)
    source = face if public else inside
    run("ip", "route", "replace", "default", "via", os.environ["LAN_IP"], "dev", interface, "src", source, "onlink")
    return [plus(source, number) for number in NEIGHBOURS]


def _interface() -> str:
    """Return the interface in the home: the only one that is not the loopback."""
    names = {line.split()[1] for line in run("ip", "-4", "-oneline", "address", "show").splitlines()}
    (name,) = names - {"lo"}
    return name


def measure(is_quick: bool = False) -> Request:
    """Settle, measure, and write what was found. With `is_quick` all but the lifetime."""
    claims = ask(os.environ["ROUTER"], {"do": "profile"})
    profile = claims["profile"]
    result: Request = probe.examine(claims["name"], profile, settle(profile), claims["public"], is_quick)
    if learns(profile):
        # Linux may give a public port to two sockets that speak to different peers. Where a port by itself leads to its
        # socket, those of the probe must be gone before a phone has one.
        ask(os.environ["ROUTER"], {"do": "flush"})
    path = ROOM / f"probe-{os.environ['HOME_OF']}.json"
    unready = path.with_suffix(".new")
    unready.write_text(json.dumps(result, indent=1), encoding="utf-8")
    unready.replace(path)
    print(f"probe: {json.dumps(result)}", flush=True)
    return result


def answer(request: Request) -> Request:
    """Measure. Raises ValueError for anything else."""
    if request["do"] != "measure":
        raise ValueError(f"a pod cannot {request['do']!r}")
    return measure(request.get("quick", False))


def main(verb: str = "") -> int:
    """Return the exit status; of `measure`: 0, or 3 when the router is not what it claims to be."""
    room = f"{os.environ['HOME_OF']}-home"
    if verb == "measure":
        found = ask(room, {"do": "measure"})
        print(json.dumps(found, indent=1))
        return BROKEN if found["wrong"] or found["leaks"] else 0
    run("nft", DEAF)
    await_room(os.environ["ROUTER"], START_S)
    measure()
    threading.Thread(target=serve, args=(room, answer), daemon=True).start()
    until_stopped()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
