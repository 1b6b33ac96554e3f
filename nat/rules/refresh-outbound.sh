# Only packets from inside keep a mapping alive. Connection tracking itself also counts those from outside: what comes to
# a port that has sent nothing for LIFETIME seconds is dropped before it is counted.
nft -f - <<RULES
table ip lab {
    set alive { type inet_service; flags dynamic, timeout; size 65535; timeout ${LIFETIME}s; }
    chain sent { type filter hook postrouting priority srcnat + 10; oifname "$WAN" meta l4proto udp update @alive { udp sport }; }
    chain silent { type filter hook prerouting priority raw; iifname "$WAN" meta l4proto udp udp dport != @alive drop; }
}
RULES
