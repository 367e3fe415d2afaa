"""Keys as bytes: their digests, and the names of unnamed ones. Pure."""

from __future__ import annotations

from hashlib import sha256


def key_digest(key: bytes) -> bytes:
    """Return the digest by which a key is looked up."""
    return sha256(key).digest()


def key_name(digest: bytes) -> str:
    """Return the name of a key without a configured name: `key-` and 8 hex digits."""
    return "key-" + digest.hex()[:8]
