# home: the everyday router. Endpoint-independent mapping, address-and-port-dependent filtering (RFC 4787),
# and a public port that differs from the phone's own: MASQUERADE alone would keep 5060 and hide what rport is for.
# Sourced by router.sh with $WAN and $LAN, the names of the interfaces.

iptables -t nat -N LAB_SNAT
iptables -t nat -A POSTROUTING -o "$WAN" -j LAB_SNAT
iptables -t nat -A LAB_SNAT -p udp -j MASQUERADE --to-ports 50000-50999
iptables -t nat -A LAB_SNAT -j MASQUERADE

# The INPUT guard. Without it a peer that speaks first gets a conntrack entry of its own, the phone's packet then
# clashes with it and leaves from another port: the lab would make its own one-way audio.
iptables -N LAB_GUARD
iptables -A LAB_GUARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A LAB_GUARD -j DROP
iptables -A INPUT -i "$WAN" -j LAB_GUARD

# Nobody outside may use the router as a way in, even when he knows the private address.
iptables -A FORWARD -i "$WAN" -j LAB_GUARD
