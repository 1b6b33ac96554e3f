# A second router behind the first: its provider's. Both are in here: two tables of connections (zones), and a cable between
# them. The home's router is 100.64.0.2 to its provider (RFC 6598), whose own rules are those of the other axes.
ip link add isp0 type veth peer name isp1
ip address add 100.64.0.1/24 dev isp1
ip link set isp0 up
ip link set isp1 up
ip neighbour add 100.64.0.2 dev isp1 lladdr "$(cat /sys/class/net/isp0/address)"
ip route add default via 100.64.0.254 dev isp0 onlink table 100 proto "$OURS" # .1 is an address of this machine, and no gateway
ip neighbour add 100.64.0.254 dev isp0 lladdr "$(cat /sys/class/net/isp1/address)"
ip rule add iif "$LAN" to "$HOME_SUBNET" lookup main priority 99 protocol "$OURS"
ip rule add iif "$LAN" lookup 100 priority 100 protocol "$OURS"
iptables -t raw -A LAB_RAW -i "$LAN" -j CT --zone 1
iptables -t raw -A LAB_RAW -i isp0 -j CT --zone 1
iptables -t raw -A LAB_RAW -i isp1 -j CT --zone 2
iptables -t raw -A LAB_RAW -i "$WAN" -j CT --zone 2
iptables -A LAB_PASS -i isp0 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A LAB_PASS -i isp0 -j DROP
nft -f - <<RULES
table ip lab {
    chain home { type nat hook postrouting priority srcnat - 5;
        oifname "isp0" meta l4proto { udp, tcp } snat ip to 100.64.0.2:40000-40999;
        oifname "isp0" snat ip to 100.64.0.2; }
}
RULES
