# One public port for a socket of the home, whoever it speaks to: the kernel gives the source that it has given before.
# MASQUERADE alone keeps a free port, and hides what rport is for; with PORTS it is another.
for protocol in udp tcp; do
    iptables -t nat -A LAB_SNAT -p "$protocol" -j MASQUERADE ${PORTS:+--to-ports "$PORTS"}
done
iptables -t nat -A LAB_SNAT -j MASQUERADE
