"""What the core wants done. The shell carries effects out, in order; the core never learns how."""

from __future__ import annotations

from typing import NamedTuple

from proxy.core.flow import Flow


class Send(NamedTuple):
    """Send these bytes on this flow."""

    flow: Flow
    data: bytes


class Note(NamedTuple):
    """Something worth a line in the log: a noun-verb name and its fields. Never a secret."""

    name: str
    fields: dict[str, object]


Effect = Send | Note
