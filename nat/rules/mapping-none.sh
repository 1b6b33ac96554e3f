# No translation. The home has public numbers, FACE_IP and the next, and the router answers for them on its Internet side.
ip ntable change name arp_cache dev "$WAN" proxy_delay 0 # it answers for them at once, not after up to 0.8 s
for number in $HOSTS; do
    face=$(ip_plus "$FACE_IP" "$number")
    ip neighbour add proxy "$face" dev "$WAN"
    ip route add "$face/32" dev "$LAN" proto "$OURS"
    iptables -A LAB_IN -d "$face" -j ACCEPT
done
iptables -A LAB_IN -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A LAB_IN -j DROP # nobody knows the way to a private address
