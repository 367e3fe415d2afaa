"""What is known of requests by their very bytes.

Naming a request canonically costs several times what a look-up does, and
most hits are byte for byte what was asked before.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from ...exchange.bounded_memo import BoundedMemo

_Known = TypeVar("_Known")

_ENTRY_BYTES = 400


class KnownRequests(Generic[_Known]):
    """Exact bytes to what is known of them, bounded.

    `limit_bytes` bounds bodies and Python's overhead together; bodies above
    a 64th of it are not remembered. Two generations: when the young one has
    half the bound it becomes the old one, and what was not asked for since
    is forgotten. O(1), but for the hash of the body.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._generation_bytes = limit_bytes // 2
        self.body_bytes = limit_bytes // 64
        self._young: dict[Hashable, _Known] = {}
        self._old: dict[Hashable, _Known] = {}
        self._size_bytes = 0

    def get(self, request: tuple[Hashable, ...], size_bytes: int) -> _Known | None:
        """Return what was remembered; `size_bytes` is that of the request."""
        known = self._young.get(request)
        if known is None and self._old:
            known = self._old.pop(request, None)
            if known is not None:
                self.remember(request, size_bytes, known)
        return known

    def remember(self, request: tuple[Hashable, ...], size_bytes: int, known: _Known) -> None:
        """Keep what is `known` of `request`, which has `size_bytes`."""
        if size_bytes > self.body_bytes:
            return
        self._size_bytes += size_bytes + _ENTRY_BYTES
        if self._size_bytes > self._generation_bytes:
            self._old, self._young = self._young, {}
            self._size_bytes = size_bytes + _ENTRY_BYTES
        self._young[request] = known


class Answered:
    """What was answered from the cache of late, by hash: a hint where to look closer, never an answer."""

    KEPT = 8192

    def __init__(self) -> None:
        self.hashes: BoundedMemo[int, None] = BoundedMemo(self.KEPT)

    def note(self, asked: bytes | str) -> None:
        """Remember what was asked: a body, or a path if there is none."""
        self.hashes.remember(hash(asked), None, 0)
