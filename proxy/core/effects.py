"""What the core wants done. The shell carries effects out, in order; the core never learns how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from proxy.core.flow import Address, Flow


@dataclass(slots=True)
class Send:
    """Send these bytes on this flow.

    Over a stream with `flow.connection` == 0 any connection to the remote address serves, and where there is none one
    is opened if `may_open`; else that connection or nothing. What cannot be sent comes back as `Engine.failed(token)`;
    nobody asks for an empty token. `server_name` is whom the certificate must name ("" for an address).
    """

    flow: Flow
    data: bytes
    token: bytes = b""
    may_open: bool = False
    server_name: str = ""


class Locate(NamedTuple):
    """Find where a host is (RFC 3263); the answer comes back as `Engine.located(token, ...)`.

    `port` and `transport` ("udp", "tcp", "tls") are None where the URI says nothing; `secure` is a sips URI.
    """

    token: bytes
    host: str
    port: int | None
    transport: str | None
    secure: bool


class Record(NamedTuple):
    """One binding as the journal keeps it. Times are Unix seconds; `path` is a Path header's value, b"" for none."""

    id: int
    aor: bytes
    contact: bytes
    expires_at: float
    q: int  # thousandths
    call_id: bytes
    cseq: int
    instance: bytes  # b"" for none
    reg_id: int  # 0 for none
    path: bytes
    transport: str
    local_host: str
    local_port: int
    remote_host: str
    remote_port: int
    natted: bool


class Save(NamedTuple):
    """Write a binding into the journal. A Send that follows in the same list may wait until it is there."""

    record: Record


class Forget(NamedTuple):
    """Remove a binding, by its id, from the journal: the one that was to expire then (Unix seconds)."""

    id: int
    expires_at: float


class OpenRelay(NamedTuple):
    """Open the ports of one media section of a session: for each side, an address of ours and an even port.

    The port above each is for RTCP. When that fails, it comes back as `Engine.relay_unopened`. `rate` is the RTP
    clock's, in Hz.
    """

    session: int
    section: int
    call_id: bytes
    kind: bytes
    here: tuple[Address, Address]
    rate: int


class SteerRelay(NamedTuple):
    """Tell where the media of one side comes from, and where it wants its own.

    `hosts`: addresses it may come from; `rtp`, `rtcp`: where it is sent to before any has come, None: nowhere. With
    `is_fixed` it is sent there afterwards too, else to where it comes from. `rate` is that of both
    sides' RTP clock now, in Hz: an answer may choose another format than the offer's first.
    """

    session: int
    section: int
    side: int
    hosts: frozenset[str]
    rtp: Address | None
    rtcp: Address | None
    is_fixed: bool
    rate: int = 8000


class CloseRelay(NamedTuple):
    """Close all ports of a session, and log what passed."""

    session: int
    why: str


@dataclass(slots=True)
class Note:
    """Something worth a line in the log: a noun-verb name and its fields. Never a secret."""

    name: str
    fields: Mapping[str, object]


Effect = Send | Locate | Save | Forget | OpenRelay | SteerRelay | CloseRelay | Note
