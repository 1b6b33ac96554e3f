"""A minimal registrar (RFC 3261 §10.3): Contact and flow are stored, and all bindings answered."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.core.flow import Flow
from proxy.core.location import Binding, Full, Location
from proxy.sip import grammar
from proxy.sip.errors import SipError
from proxy.sip.headers import NameAddr, parse_cseq, parse_name_addr
from proxy.sip.message import Request

MAX_URI_BYTES = 512  # of an AOR's user or a Contact: what a stranger can make us keep
DEFAULT_EXPIRES_S = 3600  # RFC 3261 §10.2.1.1
MAX_EXPIRES_S = 7200


@dataclass(slots=True)
class Change:
    """One Contact of a REGISTER: what is asked for."""

    contact: bytes
    expires_s: int


def aor_of(request: Request) -> bytes:
    """Return the AOR that a REGISTER is for: To's user. Raises SipError 400 or 404."""
    user = parse_name_addr(request.header(b"to") or b"").parsed().user
    if user is None:
        raise SipError(404, b"No User in To")
    if len(user) > MAX_URI_BYTES:
        raise SipError(400, b"User Too Long")
    return user


def register(request: Request, flow: Flow, location: Location, now: float) -> tuple[tuple[bytes, bytes], ...]:
    """Carry out a REGISTER, all of it or nothing, and return the headers of its 200: the bindings.

    Raises SipError 400, 404, 500 or 503.
    """
    aor = aor_of(request)
    call_id = request.header(b"call-id") or b""
    cseq = parse_cseq(request.header(b"cseq") or b"")[0]
    before = location.bindings(aor, now)
    for binding in before or []:
        if binding.call_id == call_id and cseq < binding.cseq:
            raise SipError(500, b"CSeq Out of Order")  # step 7: an older REGISTER came late
    changes = _changes(request, before or [])
    try:
        for change in changes:
            if change.expires_s == 0:
                location.remove(aor, change.contact)
            else:
                binding = Binding(change.contact, flow, now + change.expires_s, call_id, cseq)
                location.save(aor, binding, now)
    except Full:
        location.restore(aor, before)
        raise SipError(503, b"Too Many Bindings") from None
    return tuple(
        (b"Contact", b"<%b>;expires=%d" % (binding.contact, round(binding.expires_at - now)))
        for binding in location.bindings(aor, now) or []
    )


def _changes(request: Request, before: list[Binding]) -> list[Change]:
    """Return what is asked for, every Contact checked before the first is touched. Raises SipError 400."""
    default = _seconds(request.header(b"expires"))
    values = request.values(b"contact")
    if b"*" in values:
        if len(values) > 1 or default != 0:
            raise SipError(400, b"Contact * Needs Expires 0 and No Other")
        return [Change(binding.contact, 0) for binding in before]
    changes = []
    for value in values:
        contact = parse_name_addr(value)
        contact.parsed()
        if len(contact.uri) > MAX_URI_BYTES:
            raise SipError(400, b"Contact Too Long")
        changes.append(Change(contact.uri, _expires(contact, default)))
    return changes


def _expires(contact: NameAddr, default: int | None) -> int:
    own = _seconds(contact.param(b"expires"))
    for seconds in (own, default):
        if seconds is not None:
            return min(seconds, MAX_EXPIRES_S)
    return DEFAULT_EXPIRES_S


def _seconds(text: bytes | None) -> int | None:
    """Malformed values count as absent (§10.2.1.1 says the same of what cannot be understood)."""
    return None if text is None else grammar.decimal(text, 2**32 - 1)
