"""Keys as bytes: their digest, and the name that stands for one. Pure."""

from __future__ import annotations

from hashlib import sha256


def key_digest(key: bytes) -> bytes:
    """Return the digest a key is looked up by."""
    return sha256(key).digest()


def key_name(digest: bytes) -> str:
    """Return the name of a key that was given none: `key-` and 8 hex digits."""
    return "key-" + digest.hex()[:8]
