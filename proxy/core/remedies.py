"""The NAT remedies by name. Each can be switched off: the lab exists to show what each is for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Remedies:
    """Which remedies are on. The names are the same in settings, on the command line and in the documents."""

    received: bool = True  # answers go to the source address, not to the one in the Via (RFC 3261 §18.2.1)
    rport: bool = True  # answers go to the source port, not to the one in the Via (RFC 3581)
    contact: bool = True  # a NATed phone's Contact is given its public address
    record_route: bool = True  # requests within a dialog come through the proxy (RFC 3261 §16.6 step 4)
    flow: bool = True  # a registered phone is reached where its REGISTER came from, not at its Contact
    keepalive: bool = True  # a registered phone behind a NAT is asked now and then, so that its hole stays open
    relay: bool = True  # media of a phone behind a NAT comes through the proxy, where the settings have it relay at all


NAMES = tuple(Remedies.__dataclass_fields__)
