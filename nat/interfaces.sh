# Interface names on two networks are unpredictable since Engine 28: find each by its address.

# interface_of ADDRESS: the name of the interface that bears this IPv4 address.
interface_of() {
    ip -4 -oneline address show | while read -r _ name _ cidr _; do
        if [ "${cidr%/*}" = "$1" ]; then echo "$name"; fi
    done
}
