"""What is done to lines because of NATs: Via stamping (RFC 3581), Contacts made public and restored.

The invariant: a phone sees its own Contact as Request-URI, byte for byte, whatever the far end was shown instead.
"""

from __future__ import annotations

from proxy.core.flow import Address, Flow, is_private
from proxy.core.listeners import hostport
from proxy.core.remedies import Remedies
from proxy.core.signer import Signer, pack, unpack
from proxy.sip import grammar
from proxy.sip.errors import SipError
from proxy.sip.headers import Via, parse_any_via, parse_name_addr, parse_via
from proxy.sip.memory import remembered
from proxy.sip.message import Message, Request
from proxy.sip.uri import Uri, parse_uri

# The requests whose Contact is a dialog's; so are those of their 1xx and 2xx (RFC 3261 §12.1, 3311, 6665, 3515).
CONTACT_METHODS = frozenset((b"INVITE", b"UPDATE", b"SUBSCRIBE", b"NOTIFY", b"REFER"))

ALIAS = b"behind"  # the URI parameter in a public Contact that holds the phone's own host and port, signed


def stamp_source(request: Request, source: Address, remedies: Remedies) -> tuple[Via, Address]:
    """Write the packet's source into the top Via; return it as it came, and where answers go. Raises SipError 400.

    `rport` is filled in even when it was not asked for: phones that do not know RFC 3581 sit behind NATs too.
    """
    top = request.top(b"via")
    if top is None:
        raise SipError(400, b"No Via")
    came = parse_via(top) if request.version == b"SIP/2.0" else parse_any_via(top)
    # What is there of the sender's own making is worth nothing: only we know where the packet came from.
    params = grammar.without_param(came.params, b"received")
    if remedies.received:
        params += b";received=" + source[0].encode()
    if remedies.rport:
        params = grammar.with_param(params, b"rport", b"%d" % source[1])
    request.replace_top(b"Via", top[: len(top) - len(came.params)] + params)
    host, port = came.sent_by
    return came, (source[0] if remedies.received else host, source[1] if remedies.rport else port)


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


def contact_uri(message: Message) -> Uri | None:
    """Return the URI of the one Contact, or None: none, several, "*", or a scheme that is not ours to touch."""
    text = message.only(b"contact")
    return None if text is None else _uri_or_none(text)


@remembered
def _uri_or_none(contact: bytes) -> Uri | None:
    try:
        return parse_name_addr(contact).parsed()
    except SipError:  # "*", or another scheme
        return None


def publish_contact(message: Message, flow: Flow, signer: Signer, now: float) -> None:
    """Give the Contact the public address and the transport that it was sent by; its own go along, signed.

    A stale alias that the phone echoes is replaced, never added to; a Contact that is public already stays as it is.
    """
    contact = contact_uri(message)
    if contact is None or contact.address == flow.remote:
        return
    own, public = contact.hostport(), hostport(flow.remote)
    params = grammar.without_param(contact.params, ALIAS)
    if flow.transport != "udp":
        transport = grammar.param(params, b"transport")
        own += b"/" if transport is None else b"/" + transport
        params = grammar.with_param(params, b"transport", flow.transport.encode())
    alias = b"%b.%b" % (pack(own), signer.sign_until(now, b"contact", own, flow.transport.encode(), public))
    value = parse_name_addr(message.values(b"contact")[0])
    uri = contact.at(public, b"%b;%b=%b" % (params, ALIAS, alias))
    if value.before:
        message.replace_top(b"Contact", value.before + uri + value.after)
    else:  # without angle brackets the parameter would be the header's, not the URI's
        message.replace_top(b"Contact", b"<%b>%b" % (uri, value.after))


def restore_contact(uri: Uri, signer: Signer, now: float) -> tuple[Uri, str, Address] | None:
    """Return the phone's own Contact for a public one of our making, and the transport and address of its flow.

    None when the URI bears no alias. Raises SipError 403 when the alias is not ours, or has expired: else anybody could
    have us send anywhere.
    """
    alias = uri.param(ALIAS)
    if alias is None:
        return None
    packed, _, token = alias.partition(b".")
    try:
        own = unpack(packed)
    except ValueError:
        raise SipError(403, b"Forged Contact") from None
    where, slash, transport = own.partition(b"/")
    came_by = uri.transport or b"" if slash else b"udp"
    public = uri.address
    if not signer.is_current(token, now, b"contact", own, came_by, hostport(public)):
        raise SipError(403, b"Forged Contact")
    params = grammar.without_param(uri.params, ALIAS)
    if slash:
        params = (
            grammar.with_param(params, b"transport", transport)
            if transport
            else (grammar.without_param(params, b"transport"))
        )
    return parse_uri(uri.at(where, params)), came_by.decode("ascii"), public
