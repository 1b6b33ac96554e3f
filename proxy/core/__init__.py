"""The proxy's decisions: messages and the time in, effects out. It never touches a socket or a clock."""
