# The INPUT guard. Without it a peer that speaks first gets a conntrack entry of its own, the phone's packet then
# clashes with it and leaves from another port: one-way audio, made by the router.
iptables -A LAB_INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A LAB_INPUT -j DROP
