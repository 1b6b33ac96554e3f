"""Why something was changed on the way: one sentence, and where it is written. A table; the first row that fits counts.

A text may name groups of the row's patterns, as in {rport}.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from observer.changes import ADDED, ADDRESS, CHANGED, REMOVED, TRANSPORT, Change

ROUTER, ALG, PROXY = "router", "ALG", "proxy"
REQUEST, RESPONSE, ANY = "request", "response", "any"
PRIVATE = r"(?:10|127|169\.254|172\.(?:1[6-9]|2\d|3[01])|192\.168|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7]))\.[\d.]+"


@dataclass(slots=True, frozen=True)
class Row:
    """Which changes it explains: by whom, of what, in which messages; and what the lines must look like."""

    by: str
    kind: str
    name: str  # a pattern for the whole name, in lower case
    text: str
    rfc: str = ""
    of: str = ANY
    before: str = ""
    after: str = ""

    def fits(self, change: Change, by: str, of: str) -> dict[str, str] | None:
        """Return what the patterns' groups matched; None where this row does not explain this change."""
        if (by, change.kind) != (self.by, self.kind) or self.of not in (ANY, of):
            return None
        if not re.fullmatch(self.name, change.name.lower()):
            return None
        found = [re.search(self.before, change.before), re.search(self.after, change.after)]
        if not all(found):
            return None
        groups = {name: text or "" for match in found if match for name, text in match.groupdict().items()}
        return {"was": change.before, "now": change.after, "name": change.name} | groups


TABLE = (
    # ── the router ────────────────────────────────────────────────────────────────────────────────────────────────
    Row(ROUTER, ADDRESS, "source",
        "The router puts its public address and a port of its own in the place of {was}: that is the mapping by which "
        "answers find their way back.", "RFC 3022 §2.2", before=rf"^{PRIVATE}:"),
    Row(ROUTER, ADDRESS, "source", "The router sends the packet on from another address.", "RFC 3022 §2.2"),
    Row(ROUTER, ADDRESS, "destination",
        "The router has a mapping for {was} and passes the packet in, to {now} behind it.", "RFC 4787 §5",
        after=rf"^{PRIVATE}:"),
    Row(ROUTER, ADDRESS, "destination", "The router sends the packet on to another address.", "RFC 3022 §2.2"),
    # ── its application layer gateway ─────────────────────────────────────────────────────────────────────────────
    Row(ALG, CHANGED, "content-length", "The gateway changed the body, and so its length.", "RFC 3261 §20.14"),
    Row(ALG, CHANGED, "via|v",
        "The router reads SIP and puts another address into the Via: a proxy that looks for the phone's own will not "
        "find it.", "RFC 4787 §7"),
    Row(ALG, CHANGED, "contact|m", "The router reads SIP and puts another address into the Contact.", "RFC 4787 §7"),
    Row(ALG, CHANGED, "[com]=|a=", "The router reads SDP and puts another address or port into it.", "RFC 4787 §7"),
    Row(ALG, CHANGED, ".*", "The router reads SIP and rewrites what it takes for an address.", "RFC 4787 §7"),
    Row(ALG, ADDED, ".*", "The router reads SIP, and adds a line to it.", "RFC 4787 §7"),
    Row(ALG, REMOVED, ".*", "The router reads SIP, and takes a line out of it.", "RFC 4787 §7"),
    # ── the proxy: addresses ──────────────────────────────────────────────────────────────────────────────────────
    Row(PROXY, TRANSPORT, "transport", "The next hop is reached by {now}.", "RFC 3261 §16.6 step 7"),
    Row(PROXY, ADDRESS, "source", "The proxy sends what it forwards from its own address.", "RFC 3261 §16.6 step 10"),
    Row(PROXY, ADDRESS, "destination",
        "The answer goes where the next Via says that its request came from: to `received` and `rport`.",
        "RFC 3581 §4", RESPONSE),
    Row(PROXY, ADDRESS, "destination", "The request goes on to the next hop.", "RFC 3261 §16.6 step 7", REQUEST),
    # ── the first line ────────────────────────────────────────────────────────────────────────────────────────────
    Row(PROXY, CHANGED, "first line",
        "The public Contact that the far end was given is turned back into the phone's own, which it knows itself by.",
        "RFC 3261 §16.5", REQUEST, before=r";behind="),
    Row(PROXY, CHANGED, "first line",
        "The Request-URI becomes the Contact that {user} registered: that is where the phone is.", "RFC 3261 §16.5",
        REQUEST, before=r"sips?:(?P<user>[^@;:>]+)@"),
    Row(PROXY, CHANGED, "first line", "The request is for another target now.", "RFC 3261 §16.5", REQUEST),
    # ── Via ───────────────────────────────────────────────────────────────────────────────────────────────────────
    Row(PROXY, ADDED, "via|v", "The proxy puts its own Via on top, so that the answer comes back through it.",
        "RFC 3261 §16.6 step 8"),
    Row(PROXY, REMOVED, "via|v", "The proxy takes its own Via off: the next one says where the answer goes.",
        "RFC 3261 §16.7 step 3", RESPONSE),
    Row(PROXY, CHANGED, "via|v",
        "`rport={rport}` and `received={received}` say where the packet came from, as its sender asked: it is what the "
        "Via has, for no NAT stands in between.", "RFC 3581 §4",
        after=r"^\S+ (?P<received>[^:;\s]+):(?P<rport>\d+)"
              r"(?=.*;rport=(?P=rport)\b)(?=.*;received=(?P=received)(?:;|$))"),
    Row(PROXY, CHANGED, "via|v",
        "`rport={rport}` and `received={received}` are what the packet's source was: the answer must go to the hole in "
        "the NAT, not to the address in the Via.", "RFC 3581 §4",
        after=r"(?=.*;rport=(?P<rport>\d+))(?=.*;received=(?P<received>[^;,\s]+))"),
    Row(PROXY, CHANGED, "via|v",
        "`rport={rport}` is the port that the packet came from: the answer must go to the hole in the NAT, not to the "
        "port in the Via.", "RFC 3581 §4", after=r";rport=(?P<rport>\d+)"),
    Row(PROXY, CHANGED, "via|v",
        "`received={received}` is the address that the packet came from, which is not the one in the Via.",
        "RFC 3261 §18.2.1", after=r";received=(?P<received>[^;,\s]+)"),
    # ── the way of a dialog ───────────────────────────────────────────────────────────────────────────────────────
    Row(PROXY, ADDED, "record-route",
        "The way goes on by another transport: one Record-Route for each side.", "RFC 5658 §4.1", after=r";r2=on"),
    Row(PROXY, ADDED, "record-route",
        "The proxy asks to stay in the way: the requests of this dialog come through it.", "RFC 3261 §16.6 step 4"),
    Row(PROXY, CHANGED, "record-route", "The answer's Record-Route is turned to the side it goes to.", "RFC 5658 §4"),
    Row(PROXY, REMOVED, "route", "The topmost Route named this proxy: it has done its service.", "RFC 3261 §16.4"),
    Row(PROXY, CHANGED, "route", "The Routes that named this proxy have done their service.", "RFC 3261 §16.4"),
    Row(PROXY, ADDED, "route", "The phone registered by way of others: its Path is the way to it.", "RFC 3327 §5.3"),
    Row(PROXY, ADDED, "path", "Requests for the phone that registers shall come through this proxy.", "RFC 3327 §5.2"),
    Row(PROXY, CHANGED, "max-forwards", "One hop fewer is left before the request is given up.",
        "RFC 3261 §16.6 step 3"),
    Row(PROXY, ADDED, "max-forwards", "The sender set no limit of hops, so the proxy does.", "RFC 3261 §16.6 step 3"),
    Row(PROXY, ADDED, "max-breadth", "So many branches may this request still fork into.", "RFC 5393 §5.3.3"),
    Row(PROXY, CHANGED, "max-breadth", "The branches that are left are shared out.", "RFC 5393 §5.3.3"),
    # ── Contact ───────────────────────────────────────────────────────────────────────────────────────────────────
    Row(PROXY, CHANGED, "contact|m",
        "The phone says {host}, which nobody outside its home can reach: the proxy writes the address that its packets "
        "come from.", "RFC 3261 §8.1.1.8", before=rf"(?P<host>{PRIVATE}(?::\d+)?)", after=r"@(?!" + PRIVATE + ")"),
    Row(PROXY, CHANGED, "contact|m", "The phone is given its own Contact back: it would not know the public one.",
        "RFC 3261 §10.3 step 8", after=PRIVATE),
    Row(PROXY, CHANGED, "contact|m", "The Contact is made one that the far end can reach.", "RFC 3261 §8.1.1.8"),
    # ── who it is ─────────────────────────────────────────────────────────────────────────────────────────────────
    Row(PROXY, REMOVED, "proxy-authorization|authorization",
        "The password was for this proxy: whoever comes next could only guess by it.", "RFC 3261 §22.3"),
    Row(PROXY, REMOVED, "p-asserted-identity", "Nobody whom the proxy trusts has vouched for that identity.",
        "RFC 3325 §5"),
    Row(PROXY, ADDED, "(www|proxy)-authenticate", "Another branch asked for a password too: the caller sees both.",
        "RFC 3261 §16.7 step 7"),
    # ── the body ──────────────────────────────────────────────────────────────────────────────────────────────────
    Row(PROXY, CHANGED, "content-length|l", "The body has changed, and so has its length.", "RFC 3261 §20.14"),
    Row(PROXY, CHANGED, "c=", "The proxy passes the media on: the phones are told to send it there.", "RFC 8866 §5.7"),
    Row(PROXY, CHANGED, "m=", "The proxy passes the media on: {now} has the port that it took for this.",
        "RFC 8866 §5.14"),
    Row(PROXY, CHANGED, "o=", "A session description that is changed has another origin.", "RFC 8866 §5.2"),
    Row(PROXY, CHANGED, "a=", "RTCP goes to a port of the proxy too.", "RFC 3605 §2.1", after="^a=rtcp:"),
    Row(PROXY, REMOVED, "a=", "RTCP comes to the port after the media's, so nothing need be said.", "RFC 3605 §2.1",
        before="^a=rtcp:"),
    Row(PROXY, REMOVED, "a=", "ICE would have the phones find a way around the proxy that passes their media on.",
        "RFC 8839 §4", before="^a=(candidate|ice-|remote-cand|end-of-cand)"),
)  # fmt: skip


def explain(change: Change, by: str, of: str) -> tuple[str, str]:
    """Return (why, RFC section) of a change in a request or a response; ("", "") where the table has no row for it.

    `by` is router, ALG or proxy.
    """
    for row in TABLE:
        groups = row.fits(change, by, of)
        if groups is not None:
            return row.text.format_map(groups), row.rfc
    return "", ""
