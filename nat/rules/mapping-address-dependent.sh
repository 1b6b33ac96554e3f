# A public port for every address that is spoken to: the address's last six bits choose one of 64 ranges of ports.
last=0
while [ "$last" -lt 64 ]; do
    first=$((${PORTS%-*} + last * 15))
    for protocol in udp tcp; do
        iptables -t nat -A LAB_SNAT -p "$protocol" -d "0.0.0.$last/0.0.0.63" -j MASQUERADE --to-ports "$first-$((first + 14))"
    done
    last=$((last + 1))
done
iptables -t nat -A LAB_SNAT -j MASQUERADE
