# What the home sends to a public port of its own comes back in, and seems to come from the sender's public port
# (RFC 4787 REQ-9a).
nft -f - <<RULES
table ip lab {
    chain turn { type nat hook prerouting priority dstnat + 5;
        iifname "$LAN" ip daddr $WAN_IP meta l4proto udp dnat ip to udp dport map @mapped; }
    chain turned { type nat hook postrouting priority srcnat - 5;
        iifname "$LAN" oifname "$LAN" ct status dnat meta l4proto udp snat ip to $WAN_IP${PORTS:+:$PORTS}; }
}
RULES
