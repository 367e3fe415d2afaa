"""Sockets, transports, TLS, listening, Redis: the room for what Twisted does not offer in public."""
