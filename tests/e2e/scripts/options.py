"""Run in a container: `PROXY OWN` asks alice by OPTIONS three times and prints the first lines of the answers."""

import socket
import sys

proxy, own = sys.argv[1:]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
    asker.settimeout(5)
    asker.bind((own, 5090))
    for number in range(3):
        lines = (
            f"OPTIONS sip:alice@{proxy}:5060 SIP/2.0",
            f"Via: SIP/2.0/UDP {own}:5090;branch=z9hG4bKoptions{number}",
            f"From: <sip:asker@{own}>;tag=1",
            f"To: <sip:alice@{proxy}>",
            f"Call-ID: options-{number}",
            "CSeq: 1 OPTIONS",
            "Max-Forwards: 70",
            "Content-Length: 0",
        )
        asker.sendto(("\r\n".join(lines) + "\r\n\r\n").encode(), (proxy, 5060))
        print(asker.recv(4096).decode().splitlines()[0])
