# Who has which public port, learned behind the translation (priority 110): before it, two hosts with one source port
# would be mistaken for each other. `spoken` has who was sent to from it.
nft -f - <<RULES
table ip lab {
    map mapped { type inet_service : ipv4_addr . inet_service; flags dynamic, timeout; size 65535; timeout ${LIFETIME}s; }
    set spoken { type inet_service . ipv4_addr; flags dynamic, timeout; size 65535; timeout ${LIFETIME}s; }
    chain learn {
        type filter hook postrouting priority srcnat + 10;
        oifname != "$WAN" accept
        meta l4proto != udp accept
        update @spoken { udp sport . ip daddr }
        ct direction original update @mapped { udp sport : ct original ip saddr . ct original proto-src }
        ct direction reply update @mapped { udp sport : ct reply ip saddr . ct reply proto-src }
    }
}
RULES
if [ "$REFRESH" = both ]; then # packets from outside keep it too
    nft -f - <<RULES
table ip lab {
    chain relearn {
        type filter hook forward priority filter + 10;
        iifname != "$WAN" accept
        meta l4proto != udp accept
        ct direction original update @mapped { ct original proto-dst : ct reply ip saddr . ct reply proto-src }
        ct direction original update @spoken { ct original proto-dst . ip saddr }
        ct direction reply update @mapped { ct reply proto-dst : ct original ip saddr . ct original proto-src }
        ct direction reply update @spoken { ct reply proto-dst . ip saddr }
    }
}
RULES
fi
