"""Digests of the names of state: of ids, and of encrypted content. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import TypeAlias

from ...wire.json_members import string_end
from ..authorize.object_ids import ids_made

Digest: TypeAlias = int
"""8 bytes of a SHA-256."""

_ENCRYPTED = b'"encrypted_content"'
_COLON = b" \t\r\n:"


def digest(name: bytes) -> Digest:
    """Return the digest of a name."""
    return int.from_bytes(sha256(name).digest()[:8], "big")


def encrypted_in(text: bytes) -> Iterator[Digest]:
    """Yield the digest of each encrypted content in JSON, which may be truncated. O(n).

    A string cannot contain these bytes, because its quotes would be escaped.
    """
    at = text.find(_ENCRYPTED)
    while at >= 0:
        start = at = at + len(_ENCRYPTED)
        while text[start : start + 1] and text[start] in _COLON:
            start += 1
        if text[start : start + 1] == b'"':
            try:
                at = string_end(text, start)
            except ValueError:
                return
            if at - start > 2:
                yield digest(text[start + 1 : at - 1])
        at = text.find(_ENCRYPTED, at)


def names_in(text: bytes) -> list[Digest]:
    """Return the digests of all state that an answer, or an event, says it has created; `text` may be
    truncated."""
    names = [digest(name.encode("utf-8", "replace")) for name in ids_made(text)]
    return [*dict.fromkeys([*names, *encrypted_in(text)])]
