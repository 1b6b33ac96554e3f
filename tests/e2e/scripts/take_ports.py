"""In Alice's pod: `PROXY COUNT`: one socket after another of the phone's address asks the proxy who it is (STUN).

Prints a line for each: `port` where an answer came, which takes a port of the router, or `no port`.
"""

import contextlib
import os
import socket
import sys

PATIENCE_S = 0.5
COOKIE = b"\x21\x12\xa4\x42"  # RFC 5389 §6

proxy, count = sys.argv[1:]
with contextlib.ExitStack() as stack:
    for _ in range(int(count)):
        asker = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        asker.settimeout(PATIENCE_S)
        asker.bind((os.environ["PHONE_IP"], 0))
        asker.sendto(b"\x00\x01\x00\x00" + COOKIE + os.urandom(12), (proxy, 5060))
        try:
            asker.recv(1500)
            print("port")
        except TimeoutError:
            print("no port")
