"""The registrar (RFC 3261 §10.3), with Path (3327), Service-Route (3608), outbound (5626) and public GRUUs (5627).

The invariant: a REGISTER is carried out as a whole or not at all. It needs no transaction: the second copy of a
REGISTER finds its own CSeq in the bindings, changes nothing, and gets the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from proxy.core.flow import Flow
from proxy.core.location import MAX_BINDINGS_PER_AOR, Binding, Full, Location, binding_key
from proxy.sip import grammar
from proxy.sip.errors import SipError
from proxy.sip.headers import NameAddr, parse_cseq, parse_name_addr
from proxy.sip.message import Request
from proxy.sip.uri import Uri

MAX_URI_BYTES = 512  # of an AOR's user or a Contact: what a stranger can make us keep
MAX_PATH_BYTES = 1024
MAX_CALL_ID_BYTES = 256
MAX_REG_ID = 2**31 - 1  # RFC 5626 §4.2

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(slots=True, frozen=True)
class Terms:
    """What the registrar grants. Times in seconds."""

    least_s: int = 60  # less is 423 (RFC 3261 §10.3 step 7)
    usual_s: int = 3600  # when the phone does not say (§10.2.1.1)
    most_s: int = 7200
    flow_timer_s: int = 120  # how often a phone is to keep its flow alive (RFC 5626 §4.4)
    service_routes: Sequence[bytes] = ()  # Service-Route values (RFC 3608)


@dataclass(slots=True)
class _Request:
    """What one REGISTER asks for, read once."""

    aor: bytes
    address: Uri  # the URI in To
    call_id: bytes
    cseq: int
    path: bytes
    supported: frozenset[bytes]
    natted: bool
    flow: Flow
    now: float


def aor_of(request: Request) -> Uri:
    """Return the URI that a REGISTER is for: To's. Raises SipError 400 or 404."""
    address = parse_name_addr(request.header(b"to") or b"").parsed_or_none()
    if address is None:
        raise SipError(400, b"Bad To")
    if address.user is None:
        raise SipError(404, b"No User in To")
    if len(address.user) > MAX_URI_BYTES:
        raise SipError(400, b"User Too Long")
    return address


def register(request: Request, flow: Flow, natted: bool, location: Location, terms: Terms, now: float) -> Headers:
    """Carry out a REGISTER, all of it or nothing, and return the headers of its 200: all bindings.

    `natted`: the phone is behind a NAT. Raises SipError 400, 404, 420, 423, 439, 500 or 503.
    """
    asked = _read(request, flow, natted, now)
    before = (location.bindings(asked.aor, now) or [])[::-1]
    same = [binding for binding in before if binding.call_id == asked.call_id]
    if any(asked.cseq < binding.cseq for binding in same):
        raise SipError(500, b"CSeq Out of Order")  # step 7: an older REGISTER came late
    after = before
    if not any(asked.cseq == binding.cseq for binding in same):  # else: it came twice
        after = _changed(request, asked, before, terms)
        try:
            location.replace(asked.aor, after, now)
        except Full:
            raise SipError(503, b"Too Many Bindings") from None
    for binding in after:
        if binding.cseq == asked.cseq and binding.call_id == asked.call_id:
            location.save(binding)
    return _answer(asked, after, terms)


def _read(request: Request, flow: Flow, natted: bool, now: float) -> _Request:
    address = aor_of(request)
    path = b", ".join(request.values(b"path"))
    if len(path) > MAX_PATH_BYTES:
        raise SipError(400, b"Path Too Long")
    call_id = request.header(b"call-id") or b""
    if len(call_id) > MAX_CALL_ID_BYTES:
        raise SipError(400, b"Call-ID Too Long")
    for value in request.values(b"path"):
        parse_name_addr(value).parsed()  # else every call to this phone would fail on it
    supported = frozenset(value.lower() for value in request.values(b"supported"))
    if path and b"path" not in supported:
        raise SipError(421, headers=((b"Require", b"path"),))  # RFC 3327 §5.3
    return _Request(
        address.plain_user or b"", address, call_id,
        parse_cseq(request.header(b"cseq") or b"")[0], path, supported, natted, flow, now,
    )  # fmt: skip


def _changed(request: Request, asked: _Request, before: list[Binding], terms: Terms) -> list[Binding]:
    """Return the bindings as they are to be, every Contact checked before the first is touched."""
    default = _seconds(request.header(b"expires"))
    values = request.values(b"contact")
    if b"*" in values:
        if len(values) > 1 or default != 0:
            raise SipError(400, b"Contact * Needs Expires 0 and No Other")
        return []
    if len(values) > MAX_BINDINGS_PER_AOR:
        raise SipError(503, b"Too Many Bindings")
    after = list(before)
    for value in values:
        contact = parse_name_addr(value)
        contact.parsed()
        if len(contact.uri) > MAX_URI_BYTES:
            raise SipError(400, b"Contact Too Long")
        seconds = _expires(contact, default, terms)
        new = _binding(contact, request, asked, seconds)
        old = next((binding for binding in after if _is_same(binding, new)), None)
        if old is not None:
            after.remove(old)
            new.id = old.id
        if seconds > 0:
            after.append(new)
    return after


def _binding(contact: NameAddr, request: Request, asked: _Request, seconds: int) -> Binding:
    instance = (contact.param(b"+sip.instance") or b"").strip(b'"')
    if len(instance) > MAX_URI_BYTES:
        raise SipError(400, b"Instance Too Long")
    reg_id = grammar.decimal(contact.param(b"reg-id") or b"", MAX_REG_ID) or 0
    if reg_id and (not instance or b"outbound" not in asked.supported):
        reg_id = 0  # RFC 5626 §6: without both it is an ordinary registration
    if reg_id and not _has_outbound_first_hop(request):
        raise SipError(439)
    return Binding(
        asked.aor, contact.uri, binding_key(contact.uri, instance, reg_id), asked.flow, asked.now + seconds,
        asked.call_id, asked.cseq, _q(contact.param(b"q")), asked.natted, instance, reg_id, asked.path,
    )  # fmt: skip


def _is_same(old: Binding, new: Binding) -> bool:
    """Say whether a Contact renews a binding.

    Two phones of one user may have the same private address behind two NATs: then Call-ID and source both differ.
    """
    if old.key != new.key:
        return False
    if old.reg_id or not (old.natted and new.natted):
        return True
    return old.call_id == new.call_id or old.flow.remote[0] == new.flow.remote[0]


def _has_outbound_first_hop(request: Request) -> bool:
    """Say whether the flow can be kept: nobody stands between, or the first proxy does outbound (RFC 5626 §6)."""
    if len(request.values(b"via")) == 1:
        return True
    paths = request.values(b"path")
    return bool(paths) and parse_name_addr(paths[-1]).parsed().param(b"ob") is not None


def _answer(asked: _Request, bindings: list[Binding], terms: Terms) -> Headers:
    headers = [(b"Contact", _contact(asked, binding)) for binding in reversed(bindings)]
    if bindings:
        if asked.path:
            headers.append((b"Path", asked.path))
        headers += [(b"Service-Route", route) for route in terms.service_routes]
        mine = [binding for binding in bindings if binding.call_id == asked.call_id]
        if any(binding.reg_id for binding in mine):
            headers += [(b"Require", b"outbound"), (b"Flow-Timer", b"%d" % terms.flow_timer_s)]
    headers.append((b"Supported", b"path, outbound, gruu"))
    return tuple(headers)


def _contact(asked: _Request, binding: Binding) -> bytes:
    parts = [b"<%b>;expires=%d" % (binding.contact, max(0, round(binding.expires_at - asked.now)))]
    if binding.q != 1000:
        parts.append(b"q=0.%03d" % binding.q)
    if binding.instance:
        parts.append(b'+sip.instance="%b"' % binding.instance)
        if b"gruu" in asked.supported:
            parts.append(b'pub-gruu="%b;gr=%b"' % (_plain(asked.address), binding.instance.strip(b"<>")))
    if binding.reg_id:
        parts.append(b"reg-id=%d" % binding.reg_id)
    return b";".join(parts)


def _plain(address: Uri) -> bytes:
    """Return an AOR as a URI without parameters and headers."""
    return replace(address, params=b"", headers=b"").encode()


def _q(text: bytes | None) -> int:
    """Return thousandths (§20.10); what is no number counts as absent: 1."""
    if not text:
        return 1000
    whole, _, fraction = text.partition(b".")
    value = grammar.decimal((whole or b"0") + (fraction + b"000")[:3], 10**9)
    return 1000 if value is None else min(value, 1000)


def _expires(contact: NameAddr, default: int | None, terms: Terms) -> int:
    """Return how long a binding is granted; 0 removes it. Raises SipError 423."""
    asked = _seconds(contact.param(b"expires"))
    if asked is None:
        asked = terms.usual_s if default is None else default
    if 0 < asked < terms.least_s:
        raise SipError(423, headers=((b"Min-Expires", b"%d" % terms.least_s),))
    return min(asked, terms.most_s)


def _seconds(text: bytes | None) -> int | None:
    """Malformed values count as absent (§10.2.1.1 says the same of what cannot be understood)."""
    return None if text is None else grammar.decimal(text, 2**32 - 1)
