"""The embedded cache of several workers: in the supervisor, with copies of recent answers in each worker.

A worker asks the supervisor only for entries of which it has no copy. If
several workers get the same request, one of them calls the upstream: see
`shared_calls`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from attrs import field, frozen

from ..policies.cache.entry import BadEntry, CacheEntry, dump_entry, load_entry
from ..policies.cache.entry_table import EntryTable
from ..policies.cache.memory import MemoryStore
from .link import Link, LinkLost
from .messages import CACHE_FORGET, CACHE_GET, CACHE_PUT, Found

_OVERHEAD_BYTES = 400
"""The memory of an entry besides its bytes and its key."""
_UNCOMPRESSED = sys.maxsize


def shared_bytes(max_bytes: int) -> int:
    """Return the supervisor's part of `cache.max_bytes`; the workers' copies divide the rest."""
    return max_bytes // 2


class SharedCache:
    """A worker's `CacheStore`: a `MemoryStore` of copies before the supervisor's table."""

    def __init__(self, link: Link, max_bytes: int, workers: int, clock: Callable[[], float]) -> None:
        self._link = link
        self._copies = MemoryStore((max_bytes - shared_bytes(max_bytes)) // workers, clock)
        self.entry_bytes = shared_bytes(max_bytes) // 8
        self.peek = self._copies.peek

    async def get(self, key: bytes) -> CacheEntry | None:
        """Return the entry of `key` from here or from the supervisor; None if the supervisor is gone."""
        copy = self.peek(key)
        if copy is not None:
            return copy
        try:
            found = await self._link.request(CACHE_GET, key)
        except LinkLost:
            return None
        if found is None:
            return None
        try:
            entry = load_entry(key, found.data, 2 * self.entry_bytes)
        except BadEntry:
            return None
        self._copies.keep(key, entry, found.ttl_s, found.family)
        return entry

    async def put(self, key: bytes, entry: CacheEntry, ttl_s: float, family: bytes | None = None) -> None:
        """Keep a copy, and send one to the supervisor before the client sees the end of its answer."""
        if entry.size_bytes > self.entry_bytes:
            return
        self._copies.keep(key, entry, ttl_s, family)
        data = dump_entry(key, entry, _UNCOMPRESSED)
        self._link.send_now(CACHE_PUT, (key, Found(data, ttl_s, family)))

    async def forget(self, family: bytes) -> None:
        """Drop every entry of `family`, here and in the other processes."""
        self._copies.drop_family(family)
        self._link.send_now(CACHE_FORGET, family)

    def forget_copies(self, family: bytes) -> None:
        """Drop the copies of `family`, which another worker has forgotten."""
        self._copies.drop_family(family)


@frozen(eq=False)
class _Packed:
    """A serialised entry, as the supervisor keeps it."""

    data: bytes = field(repr=False)
    family: bytes | None
    expires: float

    @property
    def size_bytes(self) -> int:
        return len(self.data) + _OVERHEAD_BYTES


class Shelf:
    """The supervisor's table.

    `max_bytes` returns the bound of the settings in force, 0 without an
    embedded cache. `forgotten` is called with each family that is dropped.
    """

    def __init__(
        self, max_bytes: Callable[[], int], clock: Callable[[], float], forgotten: Callable[[bytes], object]
    ) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self.forgotten = forgotten
        self._table: EntryTable[_Packed] = EntryTable(0, clock)

    def find(self, key: bytes) -> Found | None:
        packed = self._table.peek(key)
        if packed is None:
            return None
        return Found(packed.data, packed.expires - self._clock(), packed.family)

    def keep(self, message: tuple[bytes, Found]) -> None:
        key, found = message
        packed = _Packed(found.data, found.family, self._clock() + found.ttl_s)
        self.fit()
        self._table.keep(key, packed, found.ttl_s, found.family)

    def fit(self) -> None:
        """Apply the bound of the settings in force."""
        self._table.shrink(shared_bytes(self._max_bytes()))

    def drop_family(self, family: bytes) -> None:
        self._table.drop_family(family)
        self.forgotten(family)
