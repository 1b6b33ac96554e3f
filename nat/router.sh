#!/bin/sh
# The home router: a default route towards the Internet, then the rules of its kind. Own chains only: Docker's DNS
# lives in the nat table. Rules before the first packet: an un-NATed flow stays un-NATed in conntrack.
set -eu
. /nat/interfaces.sh

WAN=$(interface_of "$NAT_WAN_IP")
LAN=$(interface_of "$NAT_LAN_IP")
[ -n "$WAN" ] && [ -n "$LAN" ] || { echo "router: no interface bears NAT_WAN_IP=$NAT_WAN_IP or NAT_LAN_IP=$NAT_LAN_IP" >&2; exit 2; }
[ -r "/nat/kinds/$NAT_TYPE.sh" ] || { echo "router: NAT_TYPE=$NAT_TYPE is unknown; known: $(cd /nat/kinds && ls | sed 's/\.sh$//' | tr '\n' ' ')" >&2; exit 2; }

. "/nat/kinds/$NAT_TYPE.sh"
ip route replace default via "$CORE_IP" dev "$WAN"
: >/run/rules-loaded
echo "router: $NAT_TYPE between $LAN ($NAT_LAN_IP) and $WAN ($NAT_WAN_IP)"

trap 'exit 0' TERM INT
sleep infinity &
wait
