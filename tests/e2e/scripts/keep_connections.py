"""Runs in the observer: one run after another with these captures, each put behind what was kept of those before.

Argument, JSON: {"most_bytes": bytes or null, "runs": [[[second, source, target, flags, bytes of payload]...]...]}, an
end being [address, port]. Prints JSON: for each run {"began", "capture", "kept": seconds of the packets, "said"}.
"""

import contextlib
import io
import json
import socket
import struct
import sys
import tempfile
from pathlib import Path

from observer import connections


def packet(second: int, source: tuple[str, int], target: tuple[str, int], flags: int, size: int) -> bytes:
    """Return a packet as a capture has it: a TCP segment in IPv4 in Ethernet, with its time before it."""
    tcp = struct.pack("!HHIIBBHHH", source[1], target[1], second, 1, 5 << 4, flags, 1000, 0, 0) + bytes(size)
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, socket.IPPROTO_TCP, 0) + addresses
    frame = bytes(12) + b"\x08\x00" + ip + tcp
    return struct.pack("<IIII", second, 0, len(frame), len(frame)) + frame


def times(path: Path) -> list[int]:
    """Return the seconds of a capture's packets: their numbers, as it were."""
    found: list[int] = []
    data = path.read_bytes()[24:] if path.exists() else b""
    while data:
        second, _, length, _ = struct.unpack_from("<IIII", data)
        found.append(second)
        data = data[16 + length :]
    return found


asked = json.loads(sys.argv[1])
connections.MOST_BYTES = asked["most_bytes"] or connections.MOST_BYTES
results = []
with tempfile.TemporaryDirectory() as folder:
    before = Path(folder) / "before"
    for number, packets in enumerate(asked["runs"]):
        run = Path(folder) / str(number)
        run.mkdir()
        capture = run / "proxy.pcap"
        head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)
        capture.write_bytes(head + b"".join(packet(*each) for each in packets))
        with contextlib.redirect_stdout(io.StringIO()) as said:
            began = connections.prepend(run, before)
        assert [path.name for path in run.iterdir()] == ["proxy.pcap"]
        kept = times(before / "proxy.pcap")
        results.append({"began": began, "capture": times(capture), "kept": kept, "said": said.getvalue()})
print(json.dumps(results))
