"""The only place with sockets: datagrams in, effects carried out."""
