# Whatever comes to a port that is mapped is passed in, from anybody.
nft -f - <<RULES
table ip lab {
    chain let_in {
        type nat hook prerouting priority dstnat + 5;
        iifname "$WAN" ip daddr $WAN_IP meta l4proto udp dnat ip to udp dport map @mapped
    }
}
RULES
iptables -A LAB_IN -m conntrack --ctstate DNAT,ESTABLISHED,RELATED -j ACCEPT
iptables -A LAB_IN -j DROP
