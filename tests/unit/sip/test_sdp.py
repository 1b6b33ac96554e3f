"""Session descriptions: where media is wanted, and the same bytes with other addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sip import sdp
from proxy.sip.errors import SipError
from proxy.sip.message import Message
from proxy.sip.parse import parse

HERE = sdp.Port("198.51.100.10", 30000)
SIX = sdp.Port("2001:db8::10", 30000)
WHOLE = (
    b"v=0\r\n"
    b"o=alice 2890844526 2890844526 IN IP4 10.77.1.100\r\n"
    b"s=c=IN IP4 in a name\r\n"
    b"c=IN IP4 10.77.1.100\r\n"
    b"b=AS:64\r\n"
    b"t=0 0\r\n"
    b"a=ice-ufrag:8hhY\r\n"
    b"a=group:BUNDLE 1 2\r\n"
    b"m=audio 6000 RTP/SAVPF 96 0\r\n"
    b"a=rtcp:6001 IN IP4 10.77.1.100\r\n"
    b"a=rtpmap:96 opus/48000/2\r\n"
    b"a=fingerprint:sha-256 AA:BB\r\n"
    b"a=candidate:1 1 UDP 2130706431 10.77.1.100 6000 typ host\r\n"
    b"a=rtcp-mux\r\n"
    b"a=end-of-candidates\r\n"
    b"m=video 6002/2 RTP/AVP 31\r\n"
    b"c=IN IP4 10.77.1.101\r\n"
    b"a=rtcp:6005\r\n"
)


def message(kind: bytes, body: bytes, *lines: bytes) -> Message:
    head = [b"MESSAGE sip:a SIP/2.0", b"Content-Type: " + kind, *lines, b"Content-Length: %d" % len(body)]
    return parse(b"\r\n".join([*head, b"", body]))


def test_what_is_wanted_where() -> None:
    audio, video = sdp.parse_sdp(WHOLE).media
    assert audio == sdp.Media(b"audio", "10.77.1.100", 6000, ("10.77.1.100", 6001), True, 48000)
    assert video == sdp.Media(b"video", "10.77.1.101", 6002, ("10.77.1.101", 6005), True, 90000)


def test_addresses_ports_and_ice_change_and_nothing_else() -> None:
    assert sdp.edited(sdp.parse_sdp(WHOLE), [HERE, sdp.Port("198.51.100.10", 30004)]) == (
        b"v=0\r\n"
        b"o=alice 2890844526 2890844526 IN IP4 198.51.100.10\r\n"
        b"s=c=IN IP4 in a name\r\n"
        b"c=IN IP4 198.51.100.10\r\n"
        b"b=AS:64\r\n"
        b"t=0 0\r\n"
        b"a=group:BUNDLE 1 2\r\n"
        b"m=audio 30000 RTP/SAVPF 96 0\r\n"
        b"a=rtcp:30001 IN IP4 198.51.100.10\r\n"
        b"a=rtpmap:96 opus/48000/2\r\n"
        b"a=fingerprint:sha-256 AA:BB\r\n"
        b"a=rtcp-mux\r\n"
        b"m=video 30004 RTP/AVP 31\r\n"
        b"c=IN IP4 198.51.100.10\r\n"
        b"a=rtcp:30005\r\n"
    )


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
def test_line_ends_stay_as_they_are(end: bytes) -> None:
    text = WHOLE.replace(b"\r\n", end)
    again = sdp.edited(sdp.parse_sdp(text), [HERE, HERE])
    assert again == sdp.edited(sdp.parse_sdp(WHOLE), [HERE, HERE]).replace(b"\r\n", end)
    assert sdp.edited(sdp.parse_sdp(text), [None, None]) == text


def test_the_last_line_may_lack_its_end() -> None:
    text = b"v=0\nm=audio 6000 RTP/AVP 0\nc=IN IP4 10.0.0.1"
    assert sdp.edited(sdp.parse_sdp(text), [HERE]) == b"v=0\nm=audio 30000 RTP/AVP 0\nc=IN IP4 198.51.100.10"


def test_the_other_ip_version() -> None:
    assert b"c=IN IP6 2001:db8::10\r\n" in sdp.edited(sdp.parse_sdp(WHOLE), [SIX, SIX])
    six = WHOLE.replace(b"IP4 10.77.1.100", b"IP6 2001:db8::1")
    assert sdp.parse_sdp(six).media[0].host == "2001:db8::1"
    assert b"IP6" not in sdp.edited(sdp.parse_sdp(six), [HERE, HERE])


@pytest.mark.parametrize("hold", [b"IP4 0.0.0.0", b"IP6 ::"])
def test_an_unspecified_address_is_nobodys_and_stays(hold: bytes) -> None:
    text = b"v=0\r\nc=IN %b\r\nm=audio 6000 RTP/AVP 0\r\n" % hold
    assert sdp.parse_sdp(text).media[0].host == ""
    assert b"c=IN %b\r\n" % hold in sdp.edited(sdp.parse_sdp(text), [HERE])


def test_a_name_is_nobodys_address_yet_and_is_replaced() -> None:
    text = b"v=0\r\nc=IN IP4 phone.example\r\nm=audio 6000 RTP/AVP 0\r\n"
    assert sdp.parse_sdp(text).media[0].host == ""
    assert b"c=IN IP4 198.51.100.10\r\n" in sdp.edited(sdp.parse_sdp(text), [HERE])


def test_a_section_that_stays_keeps_the_address_that_the_session_gave_it() -> None:
    text = b"v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 6000 RTP/AVP 0\r\nm=message 7 TCP/MSRP *\r\ni=chat\r\na=path:x\r\n"
    description = sdp.parse_sdp(text)
    assert [media.is_udp for media in description.media] == [True, False]
    assert sdp.edited(description, [HERE, None]).endswith(
        b"m=message 7 TCP/MSRP *\r\ni=chat\r\nc=IN IP4 10.0.0.1\r\na=path:x\r\n"
    )


def test_a_refused_section_stays_refused() -> None:
    text = b"v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 6000 RTP/AVP 0\r\nm=video 0 RTP/AVP 31\r\n"
    assert sdp.edited(sdp.parse_sdp(text), [HERE, None]).endswith(b"m=video 0 RTP/AVP 31\r\n")


@pytest.mark.parametrize(
    ("formats", "attribute", "rate"),
    [
        (b"0 8", b"", 8000), (b"9", b"", 8000), (b"10", b"", 44100), (b"26", b"", 90000), (b"34", b"", 90000),
        (b"96", b"a=rtpmap:96 opus/48000/2\r\n", 48000), (b"96", b"a=rtpmap:97 opus/48000/2\r\n", 90000),
        (b"96", b"a=rtpmap:96 opus\r\n", 8000), (b"96", b"a=rtpmap:96 opus/0\r\n", 8000), (b"t38", b"", 8000),
    ],
)  # fmt: skip
def test_the_rate_of_the_clock(formats: bytes, attribute: bytes, rate: int) -> None:
    text = b"v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 6000 RTP/AVP %b\r\n%b" % (formats, attribute)
    assert sdp.parse_sdp(text).media[0].rate == rate


@pytest.mark.parametrize(
    "line",
    [
        b"m=audio", b"m=audio 1", b"m=audio x RTP/AVP 0", b"m=audio -1 RTP/AVP 0", b"m=audio 65536 RTP/AVP 0",
        b"m=audio 99999999999 RTP/AVP 0", b"c=IN", b"c=IN IP4", b"c=IN IP5 1.2.3.4", b"c=XX IP4 1.2.3.4", b"c=",
        b"a=rtcp:", b"a=rtcp:x", b"a=rtcp:1 IN IP4", b"a=rtcp:-1",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_400(line: bytes) -> None:
    with pytest.raises(SipError, match="400"):
        sdp.parse_sdp(b"v=0\r\nm=audio 6000 RTP/AVP 0\r\n%b\r\nc=IN IP4 10.0.0.1\r\n" % line)


def test_a_port_without_a_connection_is_400_and_a_refused_one_needs_none() -> None:
    with pytest.raises(SipError, match="400 Bad SDP: No Connection"):
        sdp.parse_sdp(b"v=0\r\nm=audio 6000 RTP/AVP 0\r\n")
    assert sdp.parse_sdp(b"v=0\r\nm=audio 0 RTP/AVP 0\r\n").media[0].port == 0


def test_too_many_media_are_488_unless_they_are_refused() -> None:
    def lines(port: int, count: int) -> bytes:
        return b"v=0\r\nc=IN IP4 10.0.0.1\r\n" + b"m=audio %d RTP/AVP 0\r\n" % port * count

    assert len(sdp.parse_sdp(lines(6000, sdp.MAX_MEDIA)).media) == sdp.MAX_MEDIA
    assert len(sdp.parse_sdp(lines(0, 100)).media) == 100
    with pytest.raises(SipError, match="488"):
        sdp.parse_sdp(lines(6000, sdp.MAX_MEDIA + 1))


def test_no_media_at_all() -> None:
    assert sdp.parse_sdp(b"v=0\r\n").media == ()
    assert sdp.edited(sdp.parse_sdp(b"v=0\r\n"), []) == b"v=0\r\n"


# Where it is in a body


PART = b"v=0\r\nc=IN IP4 10.0.0.1\r\n"


def test_it_is_the_body() -> None:
    assert sdp.locate(message(b"application/SDP ; charset=utf-8", PART)) == (0, len(PART))


@pytest.mark.parametrize("boundary", [b"x", b'"x y"', b"--x"])
@pytest.mark.parametrize("before", [b"", b"--%b\r\nContent-Type: text/plain\r\n\r\nv=0\r\n"])
@pytest.mark.parametrize("head", [b"content-type:application/sdp\r\nX: y", b"Content-Type: application/sdp"])
def test_it_is_a_part_of_the_body(boundary: bytes, before: bytes, head: bytes) -> None:
    name = boundary.strip(b'"')
    before = before % name if before else b"preamble\r\n"
    body = b"%b--%b\r\n%b\r\n\r\n%b\r\n--%b--\r\n" % (before, name, head, PART, name)
    place = sdp.locate(message(b"multipart/mixed;boundary=" + boundary, body))
    assert place is not None
    assert body[slice(*place)] == PART


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"text/plain", PART),
        (b"application/sdp", b""),
        (b"multipart/mixed", PART),
        (b"multipart/mixed;boundary=x", PART),
        (b"multipart/mixed;boundary=x", b"--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"),  # it does not end
        (b"multipart/mixed;boundary=x", b"--x\r\nContent-Type: text/plain\r\n\r\nv=0\r\n--x--\r\n"),
        (b"multipart/mixed;boundary=x", b"--x\r\nContent-Type: application/sdp\r\n--x--\r\n"),
        (b"multipart/mixed;boundary=x",
         b"--x\r\nContent-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n\r\ndj0w\r\n--x--\r\n"),
    ],
)  # fmt: skip
def test_it_is_not_there_to_be_read(kind: bytes, body: bytes) -> None:
    assert sdp.locate(message(kind, body)) is None


def test_what_is_encoded_is_not_read() -> None:
    assert sdp.locate(message(b"application/sdp", PART, b"Content-Encoding: gzip")) is None


@given(st.binary(max_size=400) | st.lists(st.sampled_from(WHOLE.splitlines(keepends=True))).map(b"".join))
def test_whatever_comes_is_read_or_refused_and_stays_what_it_was(text: bytes) -> None:
    try:
        description = sdp.parse_sdp(text)
    except SipError:
        return
    assert sdp.edited(description, [None] * len(description.media)) == text
    ports = [HERE if media.port and media.is_udp else None for media in description.media]
    again = sdp.parse_sdp(sdp.edited(description, ports))
    assert [media.port for media in again.media] == [
        HERE.number if port else media.port for port, media in zip(ports, description.media, strict=True)
    ]
