# Only what answers comes in: from the address and port that was spoken to. And nobody outside may use the router as a
# way in, even when he knows the private address.
iptables -A LAB_IN -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A LAB_IN -j DROP
