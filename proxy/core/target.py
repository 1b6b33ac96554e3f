"""Where a request may go: one element of the target set (RFC 3261 §16.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.core.flow import Flow
from proxy.sip.uri import Uri


@dataclass(slots=True)
class Target:
    """A Request-URI and the way to it.

    With a `flow` the request takes that flow or none: a registered phone, or the far side of a signed Contact. Without
    one it goes to `hop`: the topmost Route where there is one, else the Request-URI itself.
    """

    uri: Uri  # what the Request-URI becomes
    hop: Uri
    flow: Flow | None = None
    natted: bool = False  # a phone behind a NAT is there: the Contact in its answers needs the public address
    q: int = 1000  # thousandths (RFC 3261 §20.10)
    routes: Sequence[bytes] = ()  # the Path it registered with (RFC 3327 §5.3)
    binding: tuple[bytes, int] | None = None  # (AOR, id) of the binding that it was made of
    is_ours: bool = False  # one of our users, registered or mapped
    spares: tuple[Target, ...] = ()  # other flows to the same phone, tried when this one fails
    is_edge: bool = False  # another proxy chose the flow, and wants to know when it fails (RFC 5626 §5.3.1)
