"""The embedded store: least recently used goes first, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from .entry import CacheEntry


class MemoryStore:
    """Entries in this process.

    `max_bytes` bounds keys, entries and Python's overhead together (an
    estimate); an entry above an eighth of it is not kept. `clock` gives
    monotonic seconds. Owns the only mutable state: the ordered table, and
    which keys in it are of a family.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        self.entry_bytes = max_bytes // 8
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[float, int, CacheEntry, bytes | None]] = OrderedDict()
        self.families: dict[bytes, set[bytes]] = {}
        self.size_bytes = 0

    async def get(self, key: bytes) -> CacheEntry | None:
        """Return the entry of `key`; O(1)."""
        return self.peek(key)

    def peek(self, key: bytes) -> CacheEntry | None:
        """Return the entry of `key`; O(1)."""
        found = self._entries.get(key)
        if found is None:
            return None
        expires, _, entry, _ = found
        if self._clock() >= expires:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry

    async def put(self, key: bytes, entry: CacheEntry, ttl_s: float, family: bytes | None = None) -> None:
        """Keep `entry`, at the cost of the least recently used ones."""
        if key in self._entries:
            self._drop(key)
        size = entry.size_bytes + len(key)
        if size > self.entry_bytes:
            return
        self._entries[key] = (self._clock() + ttl_s, size, entry, family)
        if family is not None:
            self.families.setdefault(family, set()).add(key)
        self.size_bytes += size
        while self.size_bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    async def forget(self, family: bytes) -> None:
        """Drop every entry of `family`; O(1) for each."""
        for key in tuple(self.families.get(family, ())):
            self._drop(key)

    def _drop(self, key: bytes) -> None:
        _, size, _, family = self._entries.pop(key)
        self.size_bytes -= size
        if family is not None:
            keys = self.families[family]
            keys.discard(key)
            if not keys:
                del self.families[family]
