# A fragment is dropped before anybody can put it together (conntrack does at priority -400).
nft -f - <<RULES
table ip lab {
    chain whole { type filter hook prerouting priority -450; ip frag-off & 0x3fff != 0 drop; }
}
RULES
