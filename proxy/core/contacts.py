"""Contacts made public and restored, because of NATs.

The invariant: a phone sees its own Contact as Request-URI, byte for byte, whatever the far end was shown instead.
"""

from __future__ import annotations

from proxy.core.flow import Address, Flow
from proxy.core.listeners import hostport
from proxy.core.signer import Signer, pack, term, unpack
from proxy.sip import grammar
from proxy.sip.errors import SipError
from proxy.sip.headers import parse_name_addr
from proxy.sip.memory import remembered, remembered_by_parts
from proxy.sip.message import Message
from proxy.sip.uri import Uri, parse_uri

# The requests whose Contact is a dialog's; so are those of their 1xx and 2xx (RFC 3261 §12.1, 3311, 6665, 3515).
CONTACT_METHODS = frozenset((b"INVITE", b"UPDATE", b"SUBSCRIBE", b"NOTIFY", b"REFER"))

ALIAS = b"behind"  # the URI parameter in a public Contact that holds the phone's own host and port, signed


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


class Contacts:
    """Makes Contacts public, and knows them again. What a phone says of itself is the same in all its messages."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._public = remembered_by_parts(self._make_public)
        self._own = remembered(self._find_own)

    def publish(self, message: Message, flow: Flow, now: float) -> None:
        """Give the Contact the public address and the transport that it was sent by; its own go along, signed.

        A stale alias that the phone echoes is replaced, never added to; a Contact that is public already stays as it
        is.
        """
        text = message.only(b"contact")
        if text is not None:
            public = self._public((text, flow.transport, flow.remote, term(now)))
            if public is not None:
                message.replace_top(b"Contact", public)

    def restore(self, uri: Uri, now: float) -> tuple[Uri, str, Address] | None:
        """Return the phone's own Contact for a public one of our making, and the transport and address of its flow.

        None when the URI bears no alias. Raises SipError 403 when the alias is not ours, or has expired: else anybody
        could have us send anywhere.
        """
        found = self._own(uri.encode())
        if found is None:
            return None
        contact, transport, address, until = found
        if until < now:
            raise SipError(403, b"Expired Contact")
        return contact, transport, address

    def _make_public(self, given: tuple[bytes, str, Address, int]) -> bytes | None:
        text, transport, remote, until = given
        contact = _uri_or_none(text)
        if contact is None or contact.address == remote:
            return None
        own, public = contact.hostport(), hostport(remote)
        params = grammar.without_param(contact.params, ALIAS)
        if transport != "udp":
            wanted = grammar.param(params, b"transport")
            own += b"/" if wanted is None else b"/" + wanted
            params = grammar.with_param(params, b"transport", transport.encode())
        token = self._signer.sign_for(until, b"contact", own, transport.encode(), public)
        uri = contact.at(public, b"%b;%b=%b.%b" % (params, ALIAS, pack(own), token))
        value = parse_name_addr(text)
        if value.before:
            return value.before + uri + value.after
        return b"<%b>%b" % (uri, value.after)  # else the parameter would be the header's, not the URI's

    def _find_own(self, text: bytes) -> tuple[Uri, str, Address, float] | None:
        uri = parse_uri(text)
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
        until = self._signer.good_until(token, b"contact", own, came_by, hostport(uri.address))
        if until is None:
            raise SipError(403, b"Forged Contact")
        params = grammar.without_param(uri.params, ALIAS)
        if slash:
            params = (
                grammar.with_param(params, b"transport", transport)
                if transport
                else (grammar.without_param(params, b"transport"))
            )
        return parse_uri(uri.at(where, params)), came_by.decode("ascii"), uri.address, until
