"""Session descriptions: where media is wanted, and the same description with other addresses (RFC 8866, 3264, 3605).

The invariant: `edited` changes addresses and ports, takes out ICE's lines, and leaves every other byte as it came.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from proxy.sip import grammar
from proxy.sip.errors import SipError
from proxy.sip.memory import remembered
from proxy.sip.message import Message

MAX_MEDIA = 16  # media lines with a port: what phones have is audio, video, perhaps text and slides

# With ICE left in, both ends would find their own way around whoever stands in the middle (RFC 8839 §5).
_ICE = (b"a=candidate:", b"a=ice-", b"a=remote-candidates:", b"a=end-of-candidates")

# Clock rates of static payload types (RFC 3551 §6), where they are not 8000 Hz.
_RATES = {6: 16000, 10: 44100, 11: 44100, 14: 90000, 16: 11025, 17: 22050}
_FIRST_VIDEO = 25
_VIDEO_RATE = 90000
_AUDIO_RATE = 8000


class Media(NamedTuple):
    """One m= section: where its sender wants it. `port` 0: it is refused, or switched off.

    `host` is "" where there is none to send to: a name, an unspecified address (hold, as RFC 2543 had it).
    """

    kind: bytes  # b"audio"
    host: str
    port: int
    rtcp: tuple[str, int]
    is_udp: bool  # else a connection, which nobody can pass on packet by packet
    rate: int  # Hz of the RTP clock, of the first format


class Description(NamedTuple):
    """What a session description says of media; `lines` are its lines with their ends, a section after the other."""

    lines: tuple[bytes, ...]
    sections: tuple[int, ...]  # where each m= line is
    media: tuple[Media, ...]


class Port(NamedTuple):
    """What a media section is to say instead: a port for RTP; RTCP is the one above."""

    host: str
    number: int


def locate(message: Message) -> tuple[int, int] | None:
    """Return where in the body the session description is: (begin, end), or None where there is none to be read.

    It may be a part of a multipart body (RFC 5621 §3).
    """
    kind = message.header(b"content-type")
    if kind is None or not message.body or message.header(b"content-encoding") is not None:
        return None
    name, _, params = kind.partition(b";")
    name = name.strip().lower()
    if name == b"application/sdp":
        return 0, len(message.body)
    if not name.startswith(b"multipart/"):
        return None
    boundary = grammar.param(b";" + params, b"boundary")
    return None if not boundary else _locate_part(message.body, b"--" + boundary.strip(b'"'))


def _locate_part(body: bytes, delimiter: bytes) -> tuple[int, int] | None:
    begin = body.find(delimiter)
    while begin >= 0:
        begin += len(delimiter)
        end = body.find(delimiter, begin)
        if end < 0:
            return None
        blank = body.find(b"\r\n\r\n", begin, end)
        if blank >= 0 and _is_plain_sdp(body[begin:blank]):
            return blank + 4, end - 2 if body[end - 2 : end] == b"\r\n" else end
        begin = end
    return None


def _is_plain_sdp(head: bytes) -> bool:
    lines = [line.partition(b":") for line in head.lower().split(b"\r\n")]
    fields = {name.strip(): value.strip() for name, _, value in lines}
    kind = fields.get(b"content-type", b"").partition(b";")[0].strip()
    encoding = fields.get(b"content-transfer-encoding", b"binary")
    return kind == b"application/sdp" and encoding in {b"7bit", b"8bit", b"binary"}


@remembered
def parse_sdp(text: bytes) -> Description:
    """Return what a session description says. Raises SipError: 400 when it is malformed, 488 when it is too much."""
    lines = text.splitlines(keepends=True)
    sections = [number for number, line in enumerate(lines) if line[:2] == b"m="]
    if len(sections) > MAX_MEDIA and sum(_port(lines[number])[0] > 0 for number in sections) > MAX_MEDIA:
        raise SipError(488, b"Too Many Media")
    first = sections[0] if sections else len(lines)
    everywhere = _connection(lines[:first])
    media = []
    for begin, end in pairwise((*sections, len(lines))):
        media.append(_media(lines[begin:end], everywhere))
    return Description(tuple(lines), tuple(sections), tuple(media))


def _media(lines: Sequence[bytes], everywhere: str | None) -> Media:
    port, is_udp, kind, formats = _port(lines[0])
    own = _connection(lines[1:])
    host = everywhere if own is None else own
    if host is None:
        if port:
            raise SipError(400, b"Bad SDP: No Connection")
        host = ""
    rtcp = (host, port + 1)
    rate = _rate(formats.split(b" ", 1)[0], lines)
    for line in lines:
        if line[:7] == b"a=rtcp:":
            rtcp = _rtcp(line, host)
    return Media(kind, host, port, rtcp, is_udp, rate)


def _port(line: bytes) -> tuple[int, bool, bytes, bytes]:
    """Return port, whether it is of UDP, the kind, and the formats of an m= line. Raises SipError 400."""
    kind, _, rest = line[2:].strip().partition(b" ")
    port, _, rest = rest.partition(b" ")
    transport, _, formats = rest.partition(b" ")
    number = grammar.decimal(port.partition(b"/")[0], 65535)
    if number is None or not transport:
        raise SipError(400, b"Bad SDP: Media Line")
    return number, not transport.upper().startswith(b"TCP"), kind, formats


def _connection(lines: Sequence[bytes]) -> str | None:
    """Return the host of the c= line, "" where nothing can be sent to; None without a line. Raises SipError 400."""
    for line in lines:
        if line[:2] == b"c=":
            fields = line[2:].split()
            if len(fields) != 3 or fields[0].upper() != b"IN" or fields[1].upper() not in {b"IP4", b"IP6"}:
                raise SipError(400, b"Bad SDP: Connection")
            return _host(fields[2])
    return None


def _host(text: bytes) -> str:
    try:
        address = ipaddress.ip_address(text.partition(b"/")[0].decode("ascii"))
    except ValueError:
        return ""  # a name: where it is shows when it sends
    return "" if address.is_unspecified else str(address)


def _rtcp(line: bytes, host: str) -> tuple[str, int]:
    """Read a=rtcp:PORT [IN IP4 HOST] (RFC 3605 §2.1). Raises SipError 400."""
    fields = line[7:].split()
    port = grammar.decimal(fields[0], 65535) if len(fields) in {1, 4} else None
    if port is None:
        raise SipError(400, b"Bad SDP: RTCP")
    return (host if len(fields) == 1 else _host(fields[3])), port


def _rate(form: bytes, lines: Sequence[bytes]) -> int:
    begin = b"a=rtpmap:%b " % form
    for line in lines:
        if line.startswith(begin):
            return grammar.decimal(line.strip().split(b"/")[1] if b"/" in line else b"", 2**31) or _AUDIO_RATE
    number = grammar.decimal(form, 128)
    if number is not None and number >= _FIRST_VIDEO:
        return _VIDEO_RATE
    return _AUDIO_RATE if number is None else _RATES.get(number, _AUDIO_RATE)


def edited(description: Description, ports: Sequence[Port | None]) -> bytes:
    """Return the description with other ports: one for each media section, None where it is to stay as it is."""
    ours = next((port for port in ports if port is not None), None)
    if ours is None:
        return b"".join(description.lines)
    sections = description.sections
    first = sections[0]
    connection = next((line for line in description.lines[:first] if line[:2] == b"c="), None)
    lines = [edit for line in description.lines[:first] if (edit := _edited_line(line, ours)) is not None]
    for (begin, end), port in zip(pairwise((*sections, len(description.lines))), ports, strict=True):
        section = description.lines[begin:end]
        if port is None:
            lines += _kept(section, connection)
        else:
            lines.append(_edited_media(section[0], port))
            lines += [edit for line in section[1:] if (edit := _edited_line(line, port)) is not None]
    return b"".join(lines)


def _kept(section: Sequence[bytes], connection: bytes | None) -> list[bytes]:
    """Return a section as it is; what the session's c= said for it, which says something else now, goes with it."""
    if connection is None or any(line[:2] == b"c=" for line in section) or _port(section[0])[0] == 0:
        return list(section)
    behind = 2 if len(section) > 1 and section[1][:2] == b"i=" else 1
    return [*section[:behind], connection, *section[behind:]]


def _edited_media(line: bytes, port: Port) -> bytes:
    """Return an m= line with this port; of several (`49170/2`) the first is left."""
    kind, _, rest = line.partition(b" ")
    return b"%b %d %b" % (kind, port.number, rest.partition(b" ")[2])


def _edited_line(line: bytes, port: Port) -> bytes | None:
    """Return a line with this address, None for one that is taken out."""
    begin = line[:2]
    if begin == b"c=":
        fields = line[2:].split()
        return line if _is_unspecified(fields[-1]) else b"c=IN %b%b" % (_address(port), _end(line))
    if begin == b"o=":
        fields = line.strip().split(b" ")
        return line if len(fields) != 6 else b"%b IN %b%b" % (b" ".join(fields[:3]), _address(port), _end(line))
    if begin == b"a=":
        if line.startswith(_ICE):
            return None
        if line[:7] == b"a=rtcp:":
            where = b" IN " + _address(port) if b" " in line.strip() else b""
            return b"a=rtcp:%d%b%b" % (port.number + 1, where, _end(line))
    return line


def _address(port: Port) -> bytes:
    return b"IP%d %b" % (6 if ":" in port.host else 4, port.host.encode())


def _end(line: bytes) -> bytes:
    return line[len(line.rstrip(b"\r\n")) :]


def _is_unspecified(host: bytes) -> bool:
    return host in {b"0.0.0.0", b"::"}
