"""Where a request goes next (RFC 3261 §16.4 to §16.6): by Route, by binding, by UA_MAPPING, by Request-URI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from proxy.core.flow import Address, is_literal, may_send_to
from proxy.core.location import Location
from proxy.core.remedies import Remedies
from proxy.core.signer import Signer
from proxy.sip import grammar
from proxy.sip.errors import SipError
from proxy.sip.headers import parse_name_addr
from proxy.sip.message import Request
from proxy.sip.uri import Uri, parse_uri

DIALOG = b"d"  # the parameter in our Record-Route that says, signed, that this dialog came through us


@dataclass(slots=True, frozen=True)
class MappedUser:
    """One user of the static table: where the phone is, and where its router's hole is, if it has one."""

    ip: str
    port: int
    nat_ip: str | None = None
    nat_port: int | None = None


@dataclass(slots=True)
class NextHop:
    """Where a request goes, and what its Request-URI becomes."""

    address: Address
    uri: Uri
    natted: bool = False  # a phone behind a NAT is there: the Contact in its answers needs the public address


class Router:
    """Knows who we are; decides about one request at a time."""

    def __init__(
        self,
        here: Address,
        domains: Iterable[str],
        mapping: Mapping[str, MappedUser],
        location: Location,
        remedies: Remedies,
        signer: Signer,
    ) -> None:
        self._here = here
        self._domains = {domain.lower().encode() for domain in domains}
        self._mapping = {user.encode(): mapped for user, mapped in mapping.items()}
        self._location = location
        self._remedies = remedies
        self._signer = signer

    def is_us(self, uri: Uri) -> bool:
        """Say whether a URI's host is one of our names, or our address and port."""
        return uri.host.lower() in self._domains or uri.address() == self._here

    def record_route(self, call_id: bytes) -> bytes:
        """Return our Record-Route value for a call."""
        return b"<sip:%b:%d;lr;%b=%b>" % (
            self._here[0].encode(), self._here[1], DIALOG, self._signer.sign(b"dialog", call_id),
        )  # fmt: skip

    def preprocess(self, request: Request, uri: Uri) -> Uri:
        """Return the Request-URI that counts, with our own Routes and those of strangers removed (§16.4).

        Raises SipError 400, 403 or 416.
        """
        uri = self._repair_strict_route(request, uri)
        self._consume_own_routes(request)
        return uri

    def next_hop(self, request: Request, uri: Uri, now: float) -> NextHop | None:
        """Return where a preprocessed request goes (§16.5, §16.6); None when it is for the proxy itself.

        Raises SipError 400, 404, 416, 480 or 502.
        """
        if request.values(b"route"):
            return self._by_route(request, uri)
        mapped = self._mapping.get(uri.user or b"")
        if self.is_us(uri):
            if uri.user is None or request.method == b"REGISTER":
                return None
            return self._by_user(uri, mapped, now)
        if mapped is not None and uri.address() == (mapped.ip, mapped.port):
            return self._by_user(uri, mapped, now)
        if not is_literal(uri.address()[0]):
            raise SipError(502, b"Names Are Not Looked Up")
        return NextHop(uri.address(), uri)

    def allow(self, hop: NextHop) -> NextHop:
        """Return a next hop that the proxy may send to. Raises SipError 403, or 404 for the proxy itself."""
        if hop.address == self._here:
            raise SipError(404, b"Loops to This Proxy")
        if not may_send_to(*hop.address, self._here[0]):
            raise SipError(403, b"Address Not Allowed")
        return hop

    def _repair_strict_route(self, request: Request, uri: Uri) -> Uri:
        """A strict router puts our Record-Route into the Request-URI and the real one last in Route (§16.4)."""
        routes = request.values(b"route")
        if not routes or uri.user is not None or uri.param(b"lr") is None or not self.is_us(uri):
            return uri
        own, last = uri, routes[-1]
        uri = parse_name_addr(last).parsed()
        request.replace_values(b"Route", [b"<%b>" % own.encode(), *routes[:-1]])
        return uri

    def _consume_own_routes(self, request: Request) -> None:
        """Remove the Routes that name us, and those of strangers who never had a dialog through us.

        Raises SipError 403 when a Route that claims to be ours is forged.
        """
        known = False
        while (top := request.top(b"route")) is not None:
            route = parse_name_addr(top).parsed()
            if not self.is_us(route):
                break
            token = route.param(DIALOG)
            if token is not None:
                if not self._signer.verify(token, b"dialog", request.header(b"call-id") or b""):
                    raise SipError(403, b"Forged Route")
                known = True
            request.pop_top(b"Route")
        if not known and request.count(b"route"):
            request.replace_values(b"Route", [])  # a preloaded Route of a stranger: else we would be an open relay

    def _by_route(self, request: Request, uri: Uri) -> NextHop:
        routes = request.values(b"route")
        route = parse_name_addr(routes[0]).parsed()
        if not is_literal(route.address()[0]):
            raise SipError(502, b"Names Are Not Looked Up")
        hop = NextHop(route.address(), uri)
        if route.param(b"lr") is None:  # the next one is a strict router (§16.6 step 6)
            request.replace_values(b"Route", [*routes[1:], b"<%b>" % uri.encode()])
            hop.uri = route
        return hop

    def _by_user(self, uri: Uri, mapped: MappedUser | None, now: float) -> NextHop:
        """Choose among the ways to reach a user: his newest binding, else the static table."""
        bindings = self._location.bindings(uri.user or b"", now)
        if bindings:
            newest = bindings[0]
            contact = parse_uri(newest.contact)
            natted = contact.address() != newest.flow.remote
            return NextHop(newest.flow.remote if self._remedies.flow else contact.address(), contact, natted)
        if mapped is not None:
            target = uri.at(b"%b:%d" % (mapped.ip.encode(), mapped.port), uri.params)
            if mapped.nat_ip is None:
                return NextHop((mapped.ip, mapped.port), target)
            return NextHop((mapped.nat_ip, mapped.nat_port or mapped.port), target, natted=True)
        if bindings is None:
            raise SipError(404)
        raise SipError(480)


def decrement_max_forwards(request: Request) -> None:
    """Count one hop; a request without the header gets 70 (§16.6 step 3)."""
    hops = grammar.decimal(request.header(b"max-forwards") or b"71", 255) or 0
    request.set(b"Max-Forwards", b"%d" % max(hops - 1, 0))
