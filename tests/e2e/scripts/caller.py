"""Run in a phone's container: `URI` calls it as a guest; each line on standard input has it send a BYE.

Prints the final status of the INVITE, and of each BYE. A guest is nobody's user: no password is asked
for, and in-dialog requests go by Record-Route to the proxy, by the Contact to the phone (RFC 3261 §12.2.1.1).
"""

import os
import re
import secrets
import socket
import sys

ANSWER_S = 20  # longer than Bob's name takes to be found, and a dead server to be given up
(uri,) = sys.argv[1:]
proxy = (os.environ["PROXY_IP"], 5060)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:  # the kernel knows which address this phone has
    asking.connect(proxy)
    own = asking.getsockname()[0]


def request(method: str, number: int, to: str, target: str, routes: list[str], branch: str = "") -> bytes:
    """Return a request of the call with this CSeq, in a transaction of its own if no branch is given."""
    lines = (
        f"{method} {target} SIP/2.0",
        f"Via: SIP/2.0/UDP {here};rport;branch=z9hG4bK{branch or secrets.token_hex(8)}",
        *(f"Route: {route}" for route in routes),
        "Max-Forwards: 70",
        f"From: <sip:guest@elsewhere.example>;tag={call}",
        f"To: {to}",
        f"Call-ID: {call}",
        f"CSeq: {number} {method}",
        f"Contact: <sip:guest@{here}>",
        "Content-Length: 0",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def final(number: int) -> str:
    """Return the next final response to the request with this CSeq; one to an earlier request may be repeated."""
    while True:
        text = phone.recv(65_536).decode()
        if re.match(r"SIP/2\.0 [2-6]", text) and header(text, "CSeq")[0].startswith(f"{number} "):
            return text


def header(text: str, name: str) -> list[str]:
    """Return the values of a header, in their order."""
    return re.findall(rf"(?mi)^{name}: *(.*?)\r$", text)


with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
    phone.settimeout(ANSWER_S)
    phone.bind((own, 0))
    here, call = f"{own}:{phone.getsockname()[1]}", secrets.token_hex(8)
    phone.sendto(request("INVITE", 1, f"<{uri}>", uri, [], call), proxy)
    answered = final(1)
    (to,) = header(answered, "To")
    if not answered.startswith("SIP/2.0 200"):
        phone.sendto(request("ACK", 1, to, uri, [], call), proxy)  # of the INVITE's transaction (RFC 3261 §17.1.1.3)
        print(answered.split()[1])
        sys.exit()
    contact = header(answered, "Contact")[0].strip("<>")
    routes = header(answered, "Record-Route")[::-1]
    phone.sendto(request("ACK", 1, to, contact, routes), proxy)
    print("200", flush=True)
    for number, _ in enumerate(sys.stdin, 2):
        phone.sendto(request("BYE", number, to, contact, routes), proxy)
        print(final(number).split()[1], flush=True)
