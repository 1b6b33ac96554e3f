# A public port for every address and port that is spoken to, drawn by lot.
for protocol in udp tcp; do
    iptables -t nat -A LAB_SNAT -p "$protocol" -j MASQUERADE --to-ports "$PORTS" --random-fully
done
iptables -t nat -A LAB_SNAT -j MASQUERADE --random-fully
