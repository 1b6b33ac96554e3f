# A UDP mapping is forgotten after LIFETIME seconds of silence, whether it was ever answered or not.
nft -f - <<RULES
table ip lab {
    ct timeout silence { protocol udp; l3proto ip; policy = { unreplied: $LIFETIME, replied: $LIFETIME }; }
    chain forgetting {
        type filter hook prerouting priority mangle;
        meta l4proto udp ct timeout set "silence"
    }
}
RULES
