"""What tshark says of packets becomes sightings: of each packet all its messages, and nothing that it does not say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from observer.decode import Rtp, Sighting, read

TAPS = ["core", "nat-lan", "proxy", "nat-wan"]
INVITE = {
    "sip_sip_Request-Line": "INVITE sip:bob@198.51.100.10 SIP/2.0", "sip_sip_Method": "INVITE",
    "sip_sip_r-uri": "sip:bob@198.51.100.10", "sip_sip_Call-ID": "c1", "sip_sip_CSeq_seq": "7",
    "sip_sip_CSeq_method": "INVITE", "sip_sip_Via": "SIP/2.0/TCP 10.77.1.100:5060;branch=z9hG4bKa",
    "sip_sip_Via_branch": "z9hG4bKa", "sip_sip_contact_uri": "sip:alice@10.77.1.100:5060",
    "sip_sip_msg_hdr": "Via: SIP/2.0/TCP 10.77.1.100:5060;branch=z9hG4bKa\r\nCall-ID: c1\r\n\r\n",
    "sip_sip_msg_body": "76:3d:30:0d:0a",
}  # fmt: skip
RINGING = {
    "sip_sip_Status-Line": "SIP/2.0 180 Ringing", "sip_sip_Status-Code": "180", "sip_sip_Call-ID": "c2",
    "sip_sip_CSeq_seq": "1", "sip_sip_CSeq_method": "INVITE", "sip_sip_Via": ["SIP/2.0/UDP a", "SIP/2.0/UDP b"],
    "sip_sip_Via_branch": ["z9hG4bKp", "z9hG4bKa"], "sip_sip_Record-Route": ["<sip:p;lr>", "<sip:q;lr>"],
    "sip_sip_msg_hdr": "Via: SIP/2.0/UDP a\r\nVia: SIP/2.0/UDP b\r\n\r\n",
}  # fmt: skip


def packet(tap: int = 2, **layers: Any) -> str:
    """Return tshark's line for a packet at a tap, by number."""
    frame = {"frame_frame_time_epoch": "2026-01-02T03:04:05.123456789Z", "frame_frame_interface_id": str(tap)}
    ip = {"ip_ip_src": "198.51.100.20", "ip_ip_dst": "198.51.100.10"}
    return json.dumps({"timestamp": "1767323045123", "layers": {"frame": frame, "ip": ip, **layers}})


def tcp(source: int = 40000, destination: int = 5060) -> dict[str, str]:
    """Return TCP's layer."""
    return {"tcp_tcp_srcport": str(source), "tcp_tcp_dstport": str(destination)}


def seen(*lines: str) -> list[Sighting]:
    """Return what is read of these lines."""
    return list(read([f"{line}\n" for line in lines], TAPS))


def test_a_message_is_read_field_by_field() -> None:
    (invite,) = seen(packet(tcp=tcp(), sip=INVITE))
    assert (invite.tap, invite.transport) == ("proxy", "tcp")
    assert (invite.source, invite.destination) == (("198.51.100.20", 40000), ("198.51.100.10", 5060))
    assert invite.time == pytest.approx(1767323045.123456, abs=1e-6)
    assert (invite.first_line, invite.method, invite.status) == ("INVITE sip:bob@198.51.100.10 SIP/2.0", "INVITE", 0)
    assert (invite.call_id, invite.cseq, invite.request_uri) == ("c1", 7, "sip:bob@198.51.100.10")
    assert (invite.vias, invite.branches) == (["SIP/2.0/TCP 10.77.1.100:5060;branch=z9hG4bKa"], ["z9hG4bKa"])
    assert invite.contact == "sip:alice@10.77.1.100:5060"
    assert invite.headers == ["Via: SIP/2.0/TCP 10.77.1.100:5060;branch=z9hG4bKa", "Call-ID: c1"]
    assert invite.body == "v=0\r\n"


def test_text_where_sound_was_promised_is_no_sound() -> None:
    """tshark says that there is RTP, of version 0, and no more of it."""
    udp = {"udp_udp_srcport": "40000", "udp_udp_dstport": "40000", "udp_udp_payload": "0d:0a"}
    (line_end,) = seen(packet(udp=udp, rtp={"rtp_rtp_version": "0"}))
    assert line_end.rtp is None
    assert line_end.crlf == 1


def test_line_ends_that_end_a_message_are_no_keep_alive() -> None:
    (invite,) = seen(packet(tcp=tcp() | {"tcp_tcp_payload": "0d:0a:0d:0a"}, sip=INVITE))
    assert (invite.method, invite.crlf) == ("INVITE", 0)
    (alone,) = seen(packet(tcp=tcp() | {"tcp_tcp_payload": "0d:0a:0d:0a"}))
    assert (alone.is_sip, alone.crlf) == (False, 2)


def test_a_header_with_a_nul_does_not_hide_those_below_it() -> None:
    cut = {**INVITE, "sip_sip_msg_hdr": "Call-ID: c1\r\nSubject: a"}
    whole = b"INVITE sip:bob@198.51.100.10 SIP/2.0\r\nCall-ID: c1\r\nSubject: a\0b\r\nX-Below: \xff\r\n\r\nv=0\r\n"
    udp = {"udp_udp_srcport": "5060", "udp_udp_dstport": "5060", "udp_udp_payload": whole.hex(":")}
    (invite,) = seen(packet(udp=udp, sip=cut))
    assert invite.headers == ["Call-ID: c1", "Subject: a\0b", "X-Below: \\xff"]


def test_what_occurs_more_than_once_is_read_whole() -> None:
    udp = {"udp_udp_srcport": "5060", "udp_udp_dstport": "50568"}
    (ringing,) = seen(packet(udp=udp, sip=RINGING))
    assert (ringing.transport, ringing.status, ringing.method) == ("udp", 180, "INVITE")
    assert (ringing.vias, ringing.branches) == (["SIP/2.0/UDP a", "SIP/2.0/UDP b"], ["z9hG4bKp", "z9hG4bKa"])
    assert ringing.record_routes == ["<sip:p;lr>", "<sip:q;lr>"]
    assert ringing.body == ""


def test_two_messages_in_one_segment_are_two_sightings() -> None:
    both = seen(packet(tcp=tcp(), sip=[INVITE, RINGING]))
    assert [(each.call_id, each.method, each.status) for each in both] == [("c1", "INVITE", 0), ("c2", "INVITE", 180)]
    assert len({(each.time, each.source, each.destination) for each in both}) == 1


def test_of_what_was_put_together_of_several_segments_the_first_layer_says_where_it_went() -> None:
    (invite,) = seen(packet(tcp=[tcp(), tcp(1, 2)], sip=INVITE))
    assert invite.source[1] == 40000


def test_what_tls_carried_was_carried_by_tls() -> None:
    (invite,) = seen(packet(tcp=tcp(destination=5061), tls={"filtered": "tls"}, sip=INVITE))
    assert (invite.transport, invite.destination[1], invite.is_sip) == ("tls", 5061, True)


def test_an_acknowledgement_is_a_packet_and_no_message() -> None:
    (nothing,) = seen(packet(tcp=tcp()))
    assert (nothing.is_sip, nothing.is_request, nothing.transport) == (False, False, "tcp")


def test_an_icmp_error_does_not_say_what_it_quotes() -> None:
    outer = {"ip_ip_src": "198.51.100.1", "ip_ip_dst": "198.51.100.10"}
    quoted = {"ip": {"ip_ip_src": "198.51.100.10"}, "sip": INVITE}
    (error,) = seen(packet(ip=outer, icmp=quoted, udp={}, sip=INVITE))
    assert (error.is_sip, error.source, error.transport) == (False, ("198.51.100.1", 0), "")


RTP = {
    "rtp_rtp_ssrc": "0x6527e7cc", "rtp_rtp_seq": "7", "rtp_rtp_timestamp": "1632", "rtp_rtp_p_type": "0",
    "rtp_rtp_payload": "ff:b1:a3",
}  # fmt: skip
PORTS = {"udp_udp_srcport": "40000", "udp_udp_dstport": "30000"}


def test_sound_is_read_with_what_it_carries() -> None:
    (sound,) = seen(packet(udp=PORTS, rtp=RTP))
    assert sound.rtp == Rtp("0x6527e7cc", 7, 1632, 0, b"\xff\xb1\xa3")
    assert (sound.is_media, sound.is_sip, sound.source[1]) == (True, False, 40000)


def test_a_report_on_sound_is_media_and_a_stun_message_is_none() -> None:
    (report,) = seen(packet(udp=PORTS, rtcp=[{}, {}]))
    (other,) = seen(packet(udp=PORTS))
    assert (report.is_media, report.rtp, other.is_media) == (True, None, False)


def test_sound_that_an_icmp_error_quotes_was_not_heard_here() -> None:
    (error,) = seen(packet(icmp={}, udp=PORTS, rtp=RTP))
    assert not error.is_media


def test_of_a_tunnel_what_is_in_it_counts_and_of_a_complaint_who_sent_it() -> None:
    ip = [{"ip_ip_src": "198.51.100.1", "ip_ip_dst": "198.51.100.2"}, {"ip_ip_src": "a", "ip_ip_dst": "b"}]
    udp = [{"udp_udp_srcport": "4789", "udp_udp_dstport": "4789"}, {"udp_udp_srcport": "1", "udp_udp_dstport": "2"}]
    (inner,) = seen(packet(ip=ip, udp=udp))
    assert (inner.source, inner.destination) == (("a", 1), ("b", 2))
    (complaint,) = seen(packet(ip=ip, icmp={"filtered": "icmp"}, udp=udp[1]))
    assert (complaint.source, complaint.destination) == (("198.51.100.1", 0), ("198.51.100.2", 0))


def test_the_index_between_the_packets_and_what_is_no_ip_are_passed_over() -> None:
    index = json.dumps({"index": {"_index": "packets-2026-01-02"}})
    arp = json.dumps({"timestamp": "1", "layers": {"frame": {}, "arp": {}}})
    assert len(seen(index, packet(tcp=tcp()), arp, packet(tcp=tcp(), sip=INVITE))) == 2


@pytest.mark.parametrize(("number", "tap"), list(enumerate(TAPS)))
def test_the_interface_is_the_tap(number: int, tap: str) -> None:
    assert [each.tap for each in seen(packet(tap=number))] == [tap]
