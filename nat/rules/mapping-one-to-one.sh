# mapping=endpoint-independent with filtering=none: each host of the home has a public address, every port passes as it is.
ip ntable change name arp_cache dev "$WAN" proxy_delay 0 # it answers for them at once, not after up to 0.8 s
for number in $HOSTS; do
    face=$(ip_plus "$FACE_IP" "$number") host=$(ip_plus "$PHONE_IP" "$number")
    ip neighbour add proxy "$face" dev "$WAN"
    ip route add "$face/32" dev "$LAN" proto "$OURS" # without a way inside, the kernel does not answer for it
    iptables -t nat -A LAB_DNAT -d "$face" -j DNAT --to-destination "$host"
    iptables -t nat -A LAB_SNAT -s "$host" -j SNAT --to-source "$face"
done
iptables -t nat -A LAB_SNAT -j MASQUERADE
iptables -A LAB_IN -m conntrack --ctstate DNAT,ESTABLISHED,RELATED -j ACCEPT
iptables -A LAB_IN -j DROP
