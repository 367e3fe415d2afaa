"""Write a client key's `[[keys]]` entry for a TOML file."""

from __future__ import annotations

import json

from ..wire.keys import key_digest


def key_entry(name: str, key: str) -> str:
    """Return the entry of `key`, which contains only its hash; raise ValueError for an invalid name."""
    if not name or len(name) > 100 or not name.isprintable():
        raise ValueError("a name has 1 to 100 characters, without control characters")
    # a JSON string without escapes beyond ASCII is a TOML string
    quoted = json.dumps(name, ensure_ascii=False)
    return f'[[keys]]\nname = {quoted}\nkey_sha256 = "{key_digest(key.encode()).hex()}"\n'
