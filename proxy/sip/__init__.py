"""SIP as bytes and values (RFC 3261 §7, §19, §20, §25): no state, no clock, no decision."""
