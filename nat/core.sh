#!/bin/sh
# The Internet itself: everybody's default gateway. It forwards nothing and counts what it is asked to forward, so
# that what the Internet drops is seen to be dropped here, and no packet of the lab finds the host's real network.
set -eu

# Interface names on two networks are unpredictable since Engine 28: find it by its address.
internet=$(ip -4 -oneline address show | while read -r _ name _ cidr _; do
    if [ "${cidr%/*}" = "$REFLECTOR_IP" ]; then echo "$name"; fi
done)
[ -n "$internet" ] || { echo "core: no interface bears REFLECTOR_IP=$REFLECTOR_IP" >&2; exit 2; }

ip address add "$CORE_IP/24" dev "$internet"
ip address add "$REFLECTOR_IP2/24" dev "$internet"
ip route del default 2>/dev/null || true # Docker's, and it points at ourselves
nft -f - <<RULES
table ip lab {
    counter strays { }
    chain strays {
        type filter hook prerouting priority raw
        fib daddr type != { local, broadcast, multicast } counter name strays
    }
}
RULES
exec python3 -m nat.reflector "$internet"
