"""The downstream edge: HTTP/1.1 towards the clients."""
