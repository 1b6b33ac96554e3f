"""Run in a container: `PROXY` throws at the proxy what is no SIP, or nearly."""

import os
import socket
import sys

RUBBISH = (
    b"",
    b"\0" * 4,
    b"\r\n\r\n",
    os.urandom(1200),
    b"INVITE",
    b"INVITE sip:x SIP/2.0\r\n\r\n",
    b"A" * 60000,
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 1.2.3.4\r\n\r\n",
    b"OPTIONS sip:a@b SIP/2.0\r\nVia: \xff\xfe\r\n\r\n",
)

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thrower:
    for piece in RUBBISH:
        thrower.sendto(piece, (sys.argv[1], 5060))
