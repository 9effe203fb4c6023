"""A connection until it is a WebSocket: its client's address, its request, and the opening handshake."""
