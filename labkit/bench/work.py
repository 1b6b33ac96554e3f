"""The kinds of work, as data: what one unit of each is, who does it, and at which rate its CPU is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OURS, KAMAILIO, SIPPY, RTPENGINE = "ours", "kamailio", "sippy", "rtpengine"
OTHER = "other"  # another image of ours, as it was before a change for example
INVITED, REGISTERED, ASKED = ("INVITE", "SIP/2.0 180"), ("REGISTER", "SIP/2.0 200"), ("OPTIONS", "SIP/2.0 200")
NO_REGISTRAR = "unsupported: Sippy's B2BUA is no registrar"
NO_PASSWORDS = "unsupported: Sippy's simple B2BUA asks for no passwords"

# Sippy's is the Python that people use today, and it does more: it is both ends of a call, and rebuilds each message.
NOTE_SIPPY = "Sippy is a B2BUA: it does more for a call than a proxy does"


@dataclass(slots=True, frozen=True)
class Work:
    """One kind of work. `rates` has the systems that do it, and units a second; `unsupported` why others do not."""

    name: str
    what: str
    unit: str
    scenario: str
    timed: tuple[str, str]  # from this request to this answer
    rates: Mapping[str, int]
    unsupported: Mapping[str, str] = field(default_factory=dict)
    callee: str = ""  # the scenario of who is called
    transport: str = "udp"
    users: str = ""  # "fresh": other users in each run; "known": the same ones, registered before
    journal: str = ""  # "behind": written after the 200; "through": before it
    is_loaded: bool = False
    has_passwords: bool = False
    is_media: bool = False


def _call(name: str, what: str, scenario: str = "uac_call.xml", **more: object) -> Work:
    rates = {OURS: 300, KAMAILIO: 300, **({SIPPY: 60} if name == "call" else {})}
    given: dict[str, object] = {"rates": rates, "callee": "uas_call.xml", **more}
    return Work(name, what, "call", scenario, INVITED, **given)  # type: ignore[arg-type]  # each by its name


def _register(name: str, what: str, rate: int, **more: object) -> Work:
    given: dict[str, object] = {"users": "fresh", "journal": "behind", **more}
    rates, unsupported = {OURS: rate, KAMAILIO: rate}, {SIPPY: NO_REGISTRAR}
    return Work(name, what, "registration", "uac_register.xml", REGISTERED, rates, unsupported, has_passwords=True,
                **given)  # type: ignore[arg-type]  # each by its name  # fmt: skip


WORKS = {
    work.name: work
    for work in (
        _call("call", "INVITE, 100, 180, 200, ACK, BYE, 200 by UDP; stateful, Record-Route, rport, NATed Contact"),
        _call("call-tcp", "the same by TCP, a connection on each side", transport="tcp",
              unsupported={SIPPY: "unsupported: Sippy's B2BUA speaks UDP"}),
        _register("register-behind", "401, then 200 (MD5); the journal is written 2 s behind", 500),
        _register("register-through", "the same; on disk before the 200", 200, journal="through"),
        _register("register-refresh", "as register-behind, of phones that are registered already", 500, users="known"),
        Work("options", "an OPTIONS to the proxy itself", "request", "uac_options.xml", ASKED,
             {OURS: 1000, KAMAILIO: 1000}, {SIPPY: "unsupported: Sippy's simple B2BUA answers no OPTIONS"}),
        _call("call-digest", "as call, and the INVITE is challenged (407) first", "uac_call_digest.xml",
              users="fresh", has_passwords=True, unsupported={SIPPY: NO_PASSWORDS}),
        _call("call-loaded", "as call, with 100,000 bindings loaded and 10,000 calls up", is_loaded=True,
              unsupported={SIPPY: NO_REGISTRAR}),
        Work("relay", "an RTP packet of G.711 passed on, of 200 calls that are up", "packet", "", ("", ""),
             {OURS: 20_000, RTPENGINE: 20_000},
             {KAMAILIO: "unsupported: it leaves media to rtpengine", SIPPY: "unsupported: it leaves media to others"},
             is_media=True),
    )
}  # fmt: skip
