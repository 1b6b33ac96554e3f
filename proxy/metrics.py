"""What /metrics says, in Prometheus' text format. Every metric is named and explained here, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PREFIX = "sip_proxy_"

COUNTERS = {
    "requests": "requests received",
    "responses": "responses received",
    "absorbed": "retransmissions of requests that were absorbed",
    "retransmissions": "messages that our timers sent again",
    "registrations": "REGISTERs that were carried out",
    "refused": "requests answered with an error of our own, challenges included",
    "challenges": "401 and 407 sent",
    "wrong-passwords": "credentials that were wrong",
    "penalties": "requests not looked at because of wrong passwords before them",
    "silenced": "refused requests that were not even answered, from a source that sends too many",
    "shed": "new requests refused with 503 because of too much load, or a stop",
    "keep-alives": "keep-alives received from phones: CRLF, zero bytes, STUN",
    "keep-alives-sent": "OPTIONS sent to phones behind a NAT",
    "bindings-dead": "bindings removed because their phones stopped answering",
    "flows-failed": "requests that found the connection of a registered phone gone",
    "send-failures": "messages that could not be sent",
    "not-sip": "datagrams that are no SIP",
    "no-way-back": "requests dropped because their Via names no address to answer to",
    "bad-response": "malformed responses dropped",
    "foreign-response": "responses dropped whose top Via is not ours",
    "stray-response": "responses dropped that belong to no transaction",
    "connections-accepted": "TCP and TLS connections accepted",
    "connections-opened": "TCP and TLS connections opened",
    "connections-refused": "connections not accepted because there were too many",
    "connections-silent": "connections closed because no message came",
    "connections-slow": "connections closed because a message took too long",
    "connections-choked": "connections closed because the peer did not read",
    "connections-idle": "connections closed because nothing passed",
    "connections-cut": "connections cut when the proxy stopped",
    "accept-failures": "connections that could not be accepted: out of file descriptors or memory",
    "connect-failures": "connections that could not be opened",
    "handshake-failures": "TLS handshakes that failed",
    "stream-errors": "connections closed because nobody could say where the next message begins",
    "relay-exhausted": "requests refused because no port for media was left",
    "relay-failures": "media sections whose ports somebody else had",
    "relays-silent": "media sessions ended because nothing came any more",
    "media-not-relayed": "answers whose session description could not be read, so that their media went its own way",
    "relay-caller-packets": "RTP packets of callers passed on",
    "relay-caller-bytes": "bytes in them",
    "relay-caller-lost": "RTP packets of callers that never came, by their numbers",
    "relay-callee-packets": "RTP packets of those who were called",
    "relay-callee-bytes": "bytes in them",
    "relay-callee-lost": "RTP packets of those who were called that never came",
    "relay-strangers": "media packets refused because they came from somebody who is not in the call",
    "relay-unsent": "media packets that could not be sent",
    "hep-lost": "messages that could not be mirrored to the collector",
    "log-lines-lost": "lines of the log that could not be written",
    "worker-losses": "messages that a worker could not pass on to the one that they belong to",
    "internal-errors": "messages on which the proxy itself failed: please report",
    "journal-commits": "transactions of the journal",
    "journal-failures": "transactions of the journal that failed",
}
GAUGES = {
    "transactions-server": "live server transactions",
    "transactions-client": "live client transactions",
    "bindings": "registered contacts",
    "connections-tcp": "open TCP connections",
    "connections-tls": "open TLS connections",
    "relay-sessions": "calls whose media comes through us",
    "relay-ports-free": "pairs of media ports that nobody uses",
    "relay-jitter-seconds": "the largest jitter of a call that is up (RFC 3550 §6.4.1)",
    "journal-durable": "1 while bindings are written to disk",
    "memory-bytes": "resident memory",
    "file-descriptors": "open file descriptors",
    "start-time-seconds": "when the proxy started, Unix time",
}


OF_THE_FIRST = frozenset(("bindings", "start-time-seconds", "journal-durable"))  # of several workers: all have the same
LARGEST = frozenset(("relay-jitter-seconds",))


def total(workers: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return what several workers count as one; the first of them first."""
    found = dict(workers[0])
    for values in workers[1:]:
        for name, value in values.items():
            if name in LARGEST:
                found[name] = max(found.get(name, 0), value)
            elif name not in OF_THE_FIRST:
                found[name] = found.get(name, 0) + value
    return found


def render(values: Mapping[str, float]) -> str:
    """Return the page. What nobody counted yet is 0; names that are not explained above are an error.

    Raises KeyError for those.
    """
    unknown = set(values) - set(COUNTERS) - set(GAUGES)
    if unknown:
        raise KeyError(f"not in the table of metrics: {', '.join(sorted(unknown))}")
    lines = []
    for kind, table in (("counter", COUNTERS), ("gauge", GAUGES)):
        for name, text in table.items():
            full = PREFIX + name.replace("-", "_") + ("_total" if kind == "counter" else "")
            lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full} {values.get(name, 0):.15g}"]
    return "\n".join(lines) + "\n"
