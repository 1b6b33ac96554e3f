# Every host of the home has BLOCK ports of its own and not one more: what finds none is dropped.
for number in $HOSTS; do
    first=$((${PORTS%-*} + number * 60))
    for protocol in udp tcp; do
        iptables -t nat -A LAB_SNAT -p "$protocol" -s "$(ip_plus "$PHONE_IP" "$number")" \
            -j MASQUERADE --to-ports "$first-$((first + BLOCK - 1))" $LOT
    done
done
