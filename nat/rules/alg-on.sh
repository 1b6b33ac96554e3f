# The kernel's own SIP helper: it rewrites Via, Contact and SDP of what the phone sends to port 5060, and opens ports for it.
iptables -t raw -A LAB_RAW -i "$LAN" -p udp --dport 5060 -j CT --helper sip ${ZONE:+--zone "$ZONE"}
