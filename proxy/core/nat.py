"""What a packet's source says: Via stamping (RFC 3581), and whether a phone is behind a NAT."""

from __future__ import annotations

from proxy.core.contacts import contact_uri
from proxy.core.flow import Address, Flow, is_private
from proxy.core.remedies import Remedies
from proxy.sip import grammar
from proxy.sip.errors import SipError
from proxy.sip.headers import Via, parse_any_via
from proxy.sip.memory import remembered_by_parts
from proxy.sip.message import Message, Request


def stamp_source(request: Request, source: Address, remedies: Remedies) -> tuple[Via, Address]:
    """Write the packet's source into the top Via; return it as it came, and where answers go. Raises SipError 400.

    `rport` is filled in even when it was not asked for: phones that do not know RFC 3581 sit behind NATs too.
    """
    top = request.top(b"via")
    if top is None:
        raise SipError(400, b"No Via")
    came = parse_any_via(top)
    if came.version != b"2.0" and request.version == b"SIP/2.0":
        raise SipError(400, b"Bad Via")
    begin, name, rest = came.params.partition(b";branch=")
    if rest.startswith(came.branch) and name and grammar.QUOTE not in came.params:
        end = rest[len(came.branch) :]
        begin, end = _stamped_around((begin, end, *source, remedies.received, remedies.rport))
        params = begin + name + came.branch + end
    else:
        params = _stamped(came.params, *source, remedies.received, remedies.rport)
    request.replace_top(b"Via", top[: len(top) - len(came.params)] + params)
    if remedies.received and remedies.rport:
        return came, source
    host, port = came.sent_by
    return came, (source[0] if remedies.received else host, source[1] if remedies.rport else port)


def _stamped(params: bytes, host: str, port: int, received: bool, rport: bool) -> bytes:
    # What is there of the sender's own making is worth nothing: only we know where the packet came from.
    params = grammar.without_param(params, b"received")
    if received:
        params += b";received=" + host.encode()
    return grammar.with_param(params, b"rport", b"%d" % port) if rport else params


_ANY_BRANCH = b";branch=z9hG4bK"


@remembered_by_parts  # the Vias of a phone differ in their branches alone
def _stamped_around(given: tuple[bytes, bytes, str, int, bool, bool]) -> tuple[bytes, bytes]:
    """Return what stands before the branch and behind it, stamped."""
    begin, end, host, port, received, rport = given
    begin, _, end = _stamped(begin + _ANY_BRANCH + end, host, port, received, rport).partition(_ANY_BRANCH)
    return begin, end


def answer_address(via: Via, remedies: Remedies) -> Address:
    """Return where the answers for this Via go (RFC 3261 §18.2.2, RFC 3581 §4).

    Deviates from RFC 3261: `maddr` is not obeyed, because it lets a sender choose whom our answers hit.
    """
    host, port = via.sent_by
    received = via.param(b"received") if remedies.received else None
    rport = via.param(b"rport") if remedies.rport else None
    return (received.decode("latin-1") if received else host, grammar.decimal(rport, 65535) or port if rport else port)


def is_behind_nat(request: Request, via: Via, flow: Flow) -> bool:
    """Say whether the sender of a request is a phone behind a NAT: its Via or its Contact is not where it sent from.

    Only the first hop can tell: behind another proxy's Via the packet's source is that proxy's. A connection's source
    port says nothing, because phones connect from any.
    """
    if request.only(b"via") is None:
        return False
    sent_by = via.sent_by
    differs = sent_by != flow.remote if flow.transport == "udp" else sent_by[0] != flow.remote[0]
    return differs or has_private_contact(request, flow)


def has_private_contact(message: Message, flow: Flow) -> bool:
    """Say whether the Contact is a private address that is not the packet's source."""
    contact = contact_uri(message)
    if contact is None:
        return False
    address = contact.address
    is_elsewhere = address != flow.remote if flow.transport == "udp" else address[0] != flow.remote[0]
    return is_elsewhere and is_private(address[0])
