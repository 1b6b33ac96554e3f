# It comes back in, but seems to come from the router's own address in the home: a common fault.
nft -f - <<RULES
table ip lab {
    chain turn { type nat hook prerouting priority dstnat + 5;
        iifname "$LAN" ip daddr $WAN_IP meta l4proto udp dnat ip to udp dport map @mapped; }
    chain turned { type nat hook postrouting priority srcnat - 5;
        iifname "$LAN" oifname "$LAN" ct status dnat meta l4proto udp masquerade; }
}
RULES
