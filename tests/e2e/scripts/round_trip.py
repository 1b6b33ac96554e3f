"""In Alice's pod: how long the reflector's answers take. Prints one line for each question: milliseconds, or `lost`."""

import json
import os
import socket
import sys
import time

PATIENCE_S = 0.5
count, address = int(sys.argv[1]), os.environ["REFLECTOR_IP"]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
    asker.settimeout(PATIENCE_S)
    for number in range(count):
        began = time.monotonic()
        asker.sendto(json.dumps({"id": str(number), "ask": "where"}).encode(), (address, 3478))
        try:
            while json.loads(asker.recv(2048)).get("id") != str(number):
                pass
        except TimeoutError:
            print("lost")
        else:
            print(f"{1000 * (time.monotonic() - began):.1f}")
