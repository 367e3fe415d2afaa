"""The embedded store: a table in this process."""

from __future__ import annotations

from collections.abc import Callable

from .entry import CacheEntry
from .entry_table import EntryTable


class MemoryStore(EntryTable[CacheEntry]):
    """A `CacheStore` of entries in this process; `clock` gives monotonic seconds."""

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        super().__init__(max_bytes, clock)
        self.entry_bytes = max_bytes // 8

    async def get(self, key: bytes) -> CacheEntry | None:
        """Return the entry of `key`; O(1)."""
        return self.peek(key)

    async def put(self, key: bytes, entry: CacheEntry, ttl_s: float, family: bytes | None = None) -> None:
        """Keep `entry`, dropping the least recently used ones to make room."""
        self.keep(key, entry, ttl_s, family)

    async def forget(self, family: bytes) -> None:
        """Drop every entry of `family`."""
        self.drop_family(family)
