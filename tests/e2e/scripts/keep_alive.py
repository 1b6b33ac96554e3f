"""Run in a container: `PROXY` asks the proxy by TCP whether it is there, then keeps the connection alive, once, as RFC
5626 §3.5.1 has it. Prints what came for that."""

import socket
import sys

(proxy,) = sys.argv[1:]
with socket.create_connection((proxy, 5060), timeout=5) as asker:
    own, port = asker.getsockname()
    lines = (
        f"OPTIONS sip:{proxy} SIP/2.0",
        f"Via: SIP/2.0/TCP {own}:{port};branch=z9hG4bKkept",
        f"From: <sip:asker@{own}>;tag=1",
        f"To: <sip:{proxy}>",
        f"Call-ID: kept-{port}",
        "CSeq: 1 OPTIONS",
        "Max-Forwards: 70",
        "Content-Length: 0",
    )
    asker.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += asker.recv(4096)
    asker.sendall(b"\r\n\r\n")
    print(asker.recv(4096))
