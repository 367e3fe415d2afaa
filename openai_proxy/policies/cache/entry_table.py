"""A table of entries that is bounded in bytes: the least recently used entry is dropped first. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """An entry that knows its size."""

    @property
    def size_bytes(self) -> int: ...


Kept = TypeVar("Kept", bound=Sized)


class EntryTable(Generic[Kept]):
    """Entries by key, each with an expiry of its own.

    `max_bytes` bounds keys, entries and Python's overhead together (an
    estimate); an entry above an eighth of it is not stored. `clock` gives
    monotonic seconds. Owns the mutable state: the ordered table, and the keys
    of each family.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        self.max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[float, int, Kept, bytes | None]] = OrderedDict()
        self.families: dict[bytes, set[bytes]] = {}
        self.size_bytes = 0

    def peek(self, key: bytes) -> Kept | None:
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

    def keep(self, key: bytes, entry: Kept, ttl_s: float, family: bytes | None = None) -> None:
        """Keep `entry`, dropping the least recently used ones to make room."""
        if key in self._entries:
            self._drop(key)
        size = entry.size_bytes + len(key)
        if size > self.max_bytes // 8:
            return
        self._entries[key] = (self._clock() + ttl_s, size, entry, family)
        if family is not None:
            self.families.setdefault(family, set()).add(key)
        self.size_bytes += size
        self.shrink(self.max_bytes)

    def shrink(self, max_bytes: int) -> None:
        """Set a new bound, and drop the least recently used entries until it holds."""
        self.max_bytes = max_bytes
        while self.size_bytes > max_bytes:
            self._drop(next(iter(self._entries)))

    def drop_family(self, family: bytes) -> None:
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
