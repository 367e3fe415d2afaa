"""The interface of a store of cache entries."""

from __future__ import annotations

from typing import Protocol

from .entry import CacheEntry


class CacheStore(Protocol):
    """Entries by name. No call ever fails: a store that cannot be reached counts as empty."""

    entry_bytes: int
    """Bodies above this are not stored; also the most that a shared response may hold in memory."""

    def peek(self, key: bytes) -> CacheEntry | None:
        """Return the result of `get` if that needs no waiting; None means nothing."""
        ...

    async def get(self, key: bytes) -> CacheEntry | None:
        """Return what is stored and not expired, or None. May be cancelled."""
        ...

    async def put(self, key: bytes, entry: CacheEntry, ttl_s: float, family: bytes | None = None) -> None:
        """Keep `entry` for `ttl_s` seconds, or less; replaces what was there.

        Entries of one `family` can be forgotten together.
        """
        ...

    async def forget(self, family: bytes) -> None:
        """Drop every entry of `family`."""
        ...
