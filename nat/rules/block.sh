# Every host of the home has BLOCK ports of its own and not one more: what finds none is dropped. To a provider's router the
# whole home is one customer.
own() { # own SOURCE FIRST
    for protocol in udp tcp; do
        iptables -t nat -A LAB_SNAT -p "$protocol" -s "$1" -j MASQUERADE --to-ports "$2-$(($2 + BLOCK - 1))" $LOT
    done
}
if [ -n "$ZONE" ]; then
    own 100.64.0.2 "${PORTS%-*}"
else
    for number in $HOSTS; do
        own "$(ip_plus "$PHONE_IP" "$number")" $((${PORTS%-*} + number * 60))
    done
fi
iptables -t nat -A LAB_SNAT -j MASQUERADE
