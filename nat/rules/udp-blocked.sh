# No UDP, in neither direction.
iptables -A LAB_PASS -p udp -j DROP
