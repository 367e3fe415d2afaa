"""Whom a key's request is for: tags from headers, and the end user that the body names."""
