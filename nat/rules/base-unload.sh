# Everything that rules of a kind have left. The impairments stay.
for place in nat:LAB_SNAT nat:LAB_DNAT filter:LAB_INPUT filter:LAB_IN filter:LAB_PASS raw:LAB_RAW; do
    iptables -t "${place%:*}" -F "${place#*:}"
done
nft destroy table ip lab
ip -4 route flush proto "$OURS"
ip neighbour show proxy dev "$WAN" | while read -r address _; do ip neighbour del proxy "$address" dev "$WAN"; done
ip rule flush protocol "$OURS"
if ip link show isp0 >/dev/null 2>&1; then ip link del isp0; fi
