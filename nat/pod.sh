#!/bin/sh
# A phone's pod: owns the address and the routes of a home, so that any phone's image can join it unchanged.
# It measures the router before any SIP flows, then only holds the network namespace.
set -eu
. /nat/interfaces.sh

home=$(interface_of "$ALICE_IP")
[ -n "$home" ] || { echo "pod: no interface bears ALICE_IP=$ALICE_IP" >&2; exit 2; }
ip route replace default via "$NAT_LAN_IP" dev "$home"

python3 /nat/probe.py
: >/run/probed

trap 'exit 0' TERM INT
sleep infinity &
wait
