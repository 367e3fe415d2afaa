"""Requests whose place in the cache is known, by their very bytes.

Naming a request canonically costs several times what a look-up does, and
most hits are byte for byte what was asked before. Imported by the stage.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeAlias

Place: TypeAlias = tuple[bytes, float]
"""The canonical key, and how long the answer may be kept (seconds)."""

_ENTRY_BYTES = 400


class KnownRequests:
    """Exact bytes to their place, bounded.

    `limit_bytes` bounds bodies and Python's overhead together; bodies above
    a 64th of it are not remembered. Two generations: when the young one has
    half the bound it becomes the old one, and what was not asked for since
    is forgotten. O(1), but for the hash of the body.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._generation_bytes = limit_bytes // 2
        self.body_bytes = limit_bytes // 64
        self._young: dict[Hashable, Place] = {}
        self._old: dict[Hashable, Place] = {}
        self._size_bytes = 0

    def get(self, request: tuple[Hashable, ...], size_bytes: int) -> Place | None:
        """Return what was remembered; `size_bytes` is that of the body."""
        place = self._young.get(request)
        if place is None:
            place = self._old.pop(request, None) if self._old else None
            if place is not None:
                self.remember(request, size_bytes, place)
        return place

    def remember(self, request: tuple[Hashable, ...], size_bytes: int, place: Place) -> None:
        """Keep the place of `request`, whose body has `size_bytes`."""
        if size_bytes > self.body_bytes:
            return
        self._size_bytes += size_bytes + _ENTRY_BYTES
        if self._size_bytes > self._generation_bytes:
            self._old, self._young = self._young, {}
            self._size_bytes = size_bytes + _ENTRY_BYTES
        self._young[request] = place
