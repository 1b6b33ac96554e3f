"""Where a request goes (RFC 3261 §16.4, §16.5): by Route, by binding, by UA_MAPPING, by Request-URI.

The invariant: nobody who has no right to it has us send to a host that is neither registered nor mapped with us.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from proxy.core.listeners import Listeners, hostport
from proxy.core.location import Binding, Location
from proxy.core.remedies import Remedies
from proxy.core.signer import Signer, pack, unpack
from proxy.core.target import Target
from proxy.sip import grammar
from proxy.sip.errors import SipError
from proxy.sip.headers import parse_name_addr
from proxy.sip.memory import remembered, remembered_by_parts
from proxy.sip.message import Request
from proxy.sip.uri import Uri, parse_uri

DIALOG = b"d"  # the parameter in our Record-Route that says, signed, that this dialog came through us
MAX_TARGETS = 20  # of one request
_ONE_LESS = {b"%d" % hops: b"%d" % (hops - 1) for hops in range(1, 256)}  # Max-Forwards, as nearly all write it


@dataclass(slots=True, frozen=True)
class MappedUser:
    """One user of the static table: where the phone is, and where its router's hole is, if it has one."""

    ip: str
    port: int
    nat_ip: str | None = None
    nat_port: int | None = None


class Router:
    """Knows who we are; decides about one request at a time."""

    def __init__(
        self,
        listeners: Listeners,
        domains: Iterable[str],
        mapping: Mapping[str, MappedUser],
        location: Location,
        remedies: Remedies,
        signer: Signer,
    ) -> None:
        self._listeners = listeners
        self._domains = {domain.lower().encode() for domain in domains}
        self._mapping = {user.encode(): mapped for user, mapped in mapping.items()}
        self._mapped = {(mapped.ip, mapped.port) for mapped in mapping.values()}
        self._location = location
        self._remedies = remedies
        self._signer = signer
        # Our own Record-Route, as it comes back: most Routes are one, and need not be taken apart.
        ours = b"|".join(map(re.escape, listeners.routes()))
        self._written = re.compile(rb"<sips?:(?:%b)(?:;r2=on)?(?:;%b=([A-Za-z0-9_\-./]+))?>" % (ours, DIALOG))

    def is_us(self, uri: Uri) -> bool:
        """Say whether a URI's host is one of our names, or our address and port."""
        return self._listeners.is_here(uri.address) or uri.host.lower().rstrip(b".") in self._domains

    def is_ours(self, uri: Uri) -> bool:
        """Say whether a URI's host is one of our names or addresses, whatever its port: an AOR has none."""
        return self.is_us(uri) or self._listeners.is_host(uri.address[0])

    def preprocess(self, request: Request, uri: Uri, sender: str, now: float) -> tuple[Uri, bool]:
        """Return the Request-URI that counts, and whether a signed Route vouches for sender or next hop (§16.4).

        `sender` is a host. Our own Routes are consumed. Raises SipError 400, 403 or 416.
        """
        uri = self._repair_strict_route(request, uri)
        hosts = self._consume_own_routes(request, now)
        if not hosts or sender in hosts:
            return uri, bool(hosts)
        top = request.top(b"route")
        hop = uri if top is None else parse_name_addr(top).parsed()
        return uri, hop.address[0] in hosts

    def targets(self, request: Request, uri: Uri, is_trusted: bool, now: float) -> list[Target] | None:
        """Return the targets of a preprocessed request (§16.5), the best first; None when it is for the proxy itself.

        `is_trusted`: the sender may send through us to anywhere. Raises SipError 400, 403, 404, 416 or 480.
        """
        if request.header(b"route") is not None:
            if is_trusted and request.values(b"route"):
                return [self._by_route(request, uri)]
            request.replace_values(b"Route", [])  # a stranger's preloaded Route: else we would be an open relay
        mapped = self._mapping.get(uri.plain_user or b"")
        if self.is_us(uri):
            if uri.user is None or request.method == b"REGISTER":
                return None
            return self._by_user(uri, mapped, now)
        address = uri.address
        if mapped is not None and address == (mapped.ip, mapped.port):
            return self._by_user(uri, mapped, now)
        if not (is_trusted or address in self._mapped or address in self._location.targets):
            raise SipError(403, b"Not Our Domain")
        return [Target(uri, uri, natted=address in self._location.behind_nat)]

    def _repair_strict_route(self, request: Request, uri: Uri) -> Uri:
        """A strict router puts our Record-Route into the Request-URI and the real one last in Route (§16.4)."""
        routes = request.values(b"route")
        if uri.user is not None or not routes or uri.param(b"lr") is None or not self.is_us(uri):
            return uri
        own, last = uri, routes[-1]
        uri = parse_name_addr(last).parsed()
        request.replace_values(b"Route", [b"<%b>" % own.encode(), *routes[:-1]])
        return uri

    def _consume_own_routes(self, request: Request, now: float) -> set[str]:
        """Remove the topmost Routes that name us; return the hosts that they vouch for. Raises SipError 403."""
        own, routes = 0, request.values(b"route")
        hosts: set[str] = set()
        for value in routes:
            written = self._written.fullmatch(value)
            if written is not None:
                token = written[1]
            else:
                route = parse_name_addr(value).parsed()
                if not self.is_us(route):
                    break
                token = route.param(DIALOG)
            if token is not None:
                hosts.update(vouched_hosts(token, self._signer, request.header(b"call-id") or b"", now))
            own += 1
        if own:
            request.replace_values(b"Route", routes[own:])
        return hosts

    def _by_route(self, request: Request, uri: Uri) -> Target:
        routes = request.values(b"route")
        route = parse_name_addr(routes[0]).parsed()
        if route.param(b"lr") is not None:
            return Target(uri, route)
        # The next one is a strict router (§16.6 step 6).
        request.replace_values(b"Route", [*routes[1:], b"<%b>" % uri.encode()])
        return Target(route, route)

    def _by_user(self, uri: Uri, mapped: MappedUser | None, now: float) -> list[Target]:
        """Return the ways to reach a user: his bindings, else the static table."""
        bindings = self._location.bindings(uri.plain_user or b"", now)
        instance = uri.param(b"gr")
        if bindings and instance:  # a public GRUU names one phone of the user (RFC 5627 §6.1)
            bindings = [binding for binding in bindings if binding.instance.strip(b"<>") == instance]
        if bindings and uri.scheme[3:]:  # sips reaches only who registered with sips (RFC 5630 §5.3)
            bindings = [
                binding for binding in bindings
                if binding.contact[:5].lower() == b"sips:" and binding.flow.transport == "tls"
            ]  # fmt: skip
            mapped = None
        if bindings:
            return self._by_bindings(bindings[:MAX_TARGETS])
        if mapped is not None:
            return [self._by_mapping(uri, mapped)]
        if bindings is None:
            raise SipError(404)
        raise SipError(480)

    def _by_bindings(self, bindings: list[Binding]) -> list[Target]:
        """Return the targets, the best first; of several flows to one phone only one at a time (RFC 5626 §5.3)."""
        targets: list[Target] = []
        phones: dict[bytes, Target] = {}
        for binding in sorted(bindings, key=lambda binding: -binding.q):
            target = self._by_binding(binding)
            if binding.reg_id and binding.instance in phones:
                phones[binding.instance].spares += (target,)
                continue
            if binding.reg_id:
                phones[binding.instance] = target
            targets.append(target)
        return targets

    def _by_binding(self, binding: Binding) -> Target:
        contact = parse_uri(binding.contact)
        routes = grammar.split_values(binding.path) if binding.path else ()
        hop = parse_name_addr(routes[0]).parsed() if routes else contact
        flow = binding.flow if self._remedies.flow and not routes else None
        return Target(contact, hop, flow, binding.natted, binding.q, routes, (binding.aor, binding.id), is_ours=True)

    def _by_mapping(self, uri: Uri, mapped: MappedUser) -> Target:
        target = parse_uri(uri.at(hostport((mapped.ip, mapped.port)), uri.params))
        if mapped.nat_ip is None:
            return Target(target, target, is_ours=True)
        hole = (mapped.nat_ip, mapped.nat_port or mapped.port)
        return Target(target, target, self._listeners.flow_to("udp", hole), natted=True, is_ours=True)


def dialog_token(signer: Signer, call_id: bytes, hosts: tuple[str, ...], now: float) -> bytes:
    """Return the parameter that marks our Record-Route for one call, and vouches for its ends that are known to us.

    `hosts` may be "" and may be the same.

    Within the dialog these hosts may send through us to wherever the other end says that it is, and others to these
    hosts. A stranger's is not among them: who once called one of our users must not send anywhere else with what he
    got for it.
    """
    packed = _packed(hosts)
    return b";%b=%b/%b" % (DIALOG, packed, signer.sign_until(now, b"dialog", call_id, packed))


@remembered_by_parts
def _packed(hosts: tuple[str, ...]) -> bytes:
    return pack(" ".join(sorted({host for host in hosts if host})).encode())


def vouched_hosts(token: bytes, signer: Signer, call_id: bytes, now: float) -> tuple[str, ...]:
    """Return the hosts that a token in our Route vouches for. Raises SipError 403 for one that is not ours."""
    packed, _, signature = token.partition(b"/")
    if not signer.is_current(signature, now, b"dialog", call_id, packed):
        raise SipError(403, b"Forged Route")
    return _unpacked(packed)


@remembered
def _unpacked(packed: bytes) -> tuple[str, ...]:
    return tuple(unpack(packed).decode("ascii").split())


def decrement_max_forwards(request: Request) -> None:
    """Count one hop; a request without the header gets 70 (§16.6 step 3)."""
    given = request.header(b"max-forwards") or b"71"
    less = _ONE_LESS.get(given) or b"%d" % max((grammar.decimal(given, 255) or 0) - 1, 0)
    request.set(b"Max-Forwards", less)
