# Our chains, made once: rules of an axis go into them and nowhere else. Docker's DNS lives in the nat table.
for place in nat:POSTROUTING:LAB_SNAT:-o nat:PREROUTING:LAB_DNAT:-i filter:INPUT:LAB_INPUT:-i filter:FORWARD:LAB_IN:-i; do
    IFS=: read -r table hook chain side <<END
$place
END
    iptables -t "$table" -N "$chain"
    iptables -t "$table" -A "$hook" "$side" "$WAN" -j "$chain"
done
iptables -t raw -N LAB_RAW
iptables -t raw -A PREROUTING -j LAB_RAW
iptables -N LAB_PASS # both directions, before any other
iptables -I FORWARD -j LAB_PASS
iptables -t mangle -N LAB_QUEUE # what goes through user space: delay, loss, drops
iptables -t mangle -A FORWARD -j LAB_QUEUE
