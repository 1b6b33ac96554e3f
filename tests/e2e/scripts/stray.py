"""Run anywhere: `ADDRESS` sends one packet there."""

import socket
import sys

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.sendto(b"stray", (sys.argv[1], 9))
