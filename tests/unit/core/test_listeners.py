"""Where we can be reached, and how we say so in Via and Record-Route."""

from __future__ import annotations

import pytest

from proxy.core.flow import Flow
from proxy.core.listeners import Listener, Listeners, hostport
from proxy.sip.headers import parse_name_addr, parse_via
from proxy.sip.uri import parse_uri

V4, TLS, V6 = ("198.51.100.10", 5060), ("198.51.100.10", 5061), ("2001:db8::10", 5060)
FAR, FAR6 = ("198.51.100.20", 40000), ("2001:db8::20", 40000)
ALL = Listeners([Listener("udp", V4), Listener("tcp", V4), Listener("tls", TLS), Listener("udp", V6)])


def test_a_proxy_without_ears_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no listener"):
        Listeners([])


def test_here_is_an_address_and_port_and_a_host_is_an_address() -> None:
    assert ALL.is_here(V4)
    assert ALL.is_here(TLS)
    assert not ALL.is_here((V4[0], 5070))
    assert ALL.is_host(V6[0])
    assert not ALL.is_host("198.51.100.11")


@pytest.mark.parametrize(
    ("flow", "value"),
    [
        (Flow("udp", V4, FAR), b"SIP/2.0/UDP 198.51.100.10:5060;branch=b"),
        (Flow("tcp", V4, FAR, 7), b"SIP/2.0/TCP 198.51.100.10:5060;branch=b"),
        (Flow("tls", TLS, FAR), b"SIP/2.0/TLS 198.51.100.10:5061;branch=b"),
        (Flow("udp", V6, FAR6), b"SIP/2.0/UDP [2001:db8::10]:5060;branch=b"),
    ],
)
def test_a_via_names_the_transport_and_the_end_that_is_ours(flow: Flow, value: bytes) -> None:
    assert ALL.via(flow, b"b") == value
    assert parse_via(value).sent_by == flow.local
    assert ALL.has(flow)


def test_a_flow_whose_listener_is_gone_is_told_apart() -> None:
    assert not ALL.has(Flow("udp", ("198.51.100.11", 5060), FAR))
    assert not ALL.has(Flow("tcp", V6, FAR6))
    assert not ALL.has(Flow("udp", TLS, FAR))


@pytest.mark.parametrize(
    ("flow", "secure", "value"),
    [
        (Flow("udp", V4, FAR), False, b"<sip:198.51.100.10:5060;lr;d=t>"),
        (Flow("udp", V4, FAR), True, b"<sip:198.51.100.10:5060;lr;d=t>"),
        (Flow("tcp", V4, FAR), False, b"<sip:198.51.100.10:5060;transport=tcp;lr;d=t>"),
        (Flow("tls", TLS, FAR), False, b"<sip:198.51.100.10:5061;transport=tls;lr;d=t>"),
        (Flow("tls", TLS, FAR), True, b"<sips:198.51.100.10:5061;transport=tls;lr;d=t>"),
        (Flow("udp", V6, FAR6), False, b"<sip:[2001:db8::10]:5060;lr;d=t>"),
    ],
)
def test_a_route_brings_requests_back_to_our_end_of_the_flow(flow: Flow, secure: bool, value: bytes) -> None:
    assert ALL.route(flow, b";d=t", secure) == value
    uri = parse_name_addr(value).parsed()
    assert uri.address == flow.local
    assert (uri.wanted_transport or "udp") == flow.transport


def test_a_flow_leaves_from_the_listener_of_its_transport_and_family() -> None:
    assert ALL.flow_to("udp", FAR) == Flow("udp", V4, FAR)
    assert ALL.flow_to("udp", FAR6) == Flow("udp", V6, FAR6)
    assert ALL.flow_to("tls", FAR) == Flow("tls", TLS, FAR)
    assert ALL.flow_to("tcp", FAR6) is None
    assert ALL.flow_to("sctp", FAR) is None


def test_a_flow_leaves_from_where_the_request_came_in_if_that_fits() -> None:
    second = ("198.51.100.11", 5060)
    two = Listeners([Listener("udp", V4), Listener("udp", second), Listener("tcp", V4)])
    came = Flow("udp", second, FAR)
    assert two.flow_to("udp", FAR, came) == Flow("udp", second, FAR)
    assert two.flow_to("udp", FAR) == Flow("udp", V4, FAR)
    assert two.flow_to("tcp", FAR, came) == Flow("tcp", V4, FAR)
    assert two.flow_to("udp", FAR6, came) is None


def test_a_transport_is_spoken_when_somebody_listens() -> None:
    assert ALL.speaks("tls")
    assert not ALL.speaks("ws")


def test_an_ipv6_literal_is_bracketed() -> None:
    assert hostport(V4) == b"198.51.100.10:5060"
    assert hostport(V6) == b"[2001:db8::10]:5060"


@pytest.mark.parametrize(
    ("uri", "transport"),
    [
        (b"sip:a@b", None), (b"sip:a@b;transport=TCP", "tcp"), (b"sip:a@b;TRANSPORT=udp", "udp"), (b"sips:a@b", "tls"),
        (b"sips:a@b;transport=tcp", "tls"), (b"SIPS:a@b;transport=TLS", "tls"), (b"sip:a@b;transport=tls", "tls"),
        (b"sip:a@b;transport=sctp", "sctp"), (b"sip:a@b;transport=\xff", "\xff"),
    ],
)  # fmt: skip
def test_the_transport_of_a_uri_is_what_it_says_or_what_sips_means(uri: bytes, transport: str | None) -> None:
    assert parse_uri(uri).wanted_transport == transport
