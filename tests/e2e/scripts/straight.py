"""In a pod: `PORT ADDRESS:PORT` asks somebody by OPTIONS, past the proxy. Prints the first line of the answer, or
`silence`.
"""

import os
import socket
import sys

PATIENCE_S = 1.0

port, target = sys.argv[1:]
host, _, target_port = target.partition(":")
own = f"{os.environ['PHONE_IP']}:{port}"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
    asker.settimeout(PATIENCE_S)
    asker.bind((os.environ["PHONE_IP"], int(port)))
    lines = (
        f"OPTIONS sip:{target} SIP/2.0",
        f"Via: SIP/2.0/UDP {own};rport;branch=z9hG4bKstraight{os.urandom(8).hex()}",
        f"From: <sip:asker@{own}>;tag=1",
        f"To: <sip:{target}>",
        f"Call-ID: straight-{os.urandom(8).hex()}",
        "CSeq: 1 OPTIONS",
        "Max-Forwards: 70",
        "Content-Length: 0",
    )
    asker.sendto(("\r\n".join(lines) + "\r\n\r\n").encode(), (host, int(target_port)))
    try:
        print(asker.recv(4096).decode().splitlines()[0])
    except TimeoutError:
        print("silence")
