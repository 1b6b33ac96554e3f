"""Run in a phone's container: registers erin with SHA-512-256, which neither SIPp nor baresip can compute.

Prints a line per REGISTER: what was sent, the status, and whether the challenge says stale=true.
"""

import hashlib
import os
import re
import secrets
import socket

PORT = 5094
proxy = os.environ["PROXY_IP"]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:  # the kernel knows which address this phone has
    asking.connect((proxy, 5060))
    own = asking.getsockname()[0]
uri = f"sip:{proxy}:5060"
call = secrets.token_hex(8)
count = 0


def h(text: str) -> str:
    """Return H(text) (RFC 7616 §3.3)."""
    return hashlib.new("sha512_256", text.encode()).hexdigest()


def register(sent: str, credentials: str = "", expires: int = 30) -> str:
    """Send a REGISTER of its own transaction, print what came of it, and return the answer."""
    global count
    count += 1
    lines = (
        f"REGISTER {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {own}:{PORT};rport;branch=z9hG4bK{secrets.token_hex(8)}",
        "Max-Forwards: 70",
        f"From: <sip:erin@{proxy}>;tag={call}",
        f"To: <sip:erin@{proxy}>",
        f"Call-ID: {call}",
        f"CSeq: {count} REGISTER",
        f"Contact: <sip:erin@{own}:{PORT}>",
        f"Expires: {expires}",
        *([f"Authorization: {credentials}"] if credentials else []),
        "Content-Length: 0",
    )
    phone.sendto(("\r\n".join(lines) + "\r\n\r\n").encode(), (proxy, 5060))
    answer = phone.recv(65_536).decode()
    print(sent, answer.split()[1], "stale" if "stale=true" in answer.lower() else "", flush=True)
    return answer


def credentials(challenged: str, password: str) -> str:
    """Return the answer to the topmost challenge (RFC 8760 §2.4: the server prefers it), which is to be SHA-512-256."""
    challenge = re.findall(r"(?mi)^WWW-Authenticate: *Digest (.*?)\r$", challenged)[0]
    fields = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge))
    assert fields["algorithm"] == "SHA-512-256", challenge
    realm, nonce, cnonce = fields["realm"], fields["nonce"], secrets.token_hex(8)
    response = h(f"{h(f'erin:{realm}:{password}')}:{nonce}:00000001:{cnonce}:auth:{h(f'REGISTER:{uri}')}")
    return (
        f'Digest username="erin", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{response}", '
        f'algorithm=SHA-512-256, cnonce="{cnonce}", qop=auth, nc=00000001'
    )


with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
    phone.settimeout(5)
    phone.bind((own, PORT))
    challenged = register("none")
    challenged = register("wrong", credentials(challenged, "erin-guess"))
    right = credentials(challenged, "erin-secret")
    register("right", right)
    challenged = register("replayed", right)
    register("removed", credentials(challenged, "erin-secret"), expires=0)
