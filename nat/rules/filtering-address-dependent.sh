# Whoever has been sent to from a port may send to it, from any port of his.
nft -f - <<RULES
table ip lab {
    chain let_in {
        type nat hook prerouting priority dstnat + 5;
        iifname "$WAN" ip daddr $WAN_IP udp dport . ip saddr @spoken dnat ip to udp dport map @mapped
    }
}
RULES
iptables -A LAB_IN -m conntrack --ctstate DNAT,ESTABLISHED,RELATED -j ACCEPT
iptables -A LAB_IN -j DROP
