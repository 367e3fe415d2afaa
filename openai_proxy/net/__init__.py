"""Sockets, transports, TLS, listening, Redis: the only room that uses Twisted's private parts."""
