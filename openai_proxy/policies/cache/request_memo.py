"""A memo of facts about requests, by their exact bytes.

Computing the canonical key of a request costs several times as much as a
look-up here, and most hits repeat an earlier request byte for byte.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from ...exchange.bounded_memo import BoundedMemo

_Value = TypeVar("_Value")

_ENTRY_BYTES = 400


class RequestMemo(Generic[_Value]):
    """Maps the exact bytes of requests to values, bounded.

    `limit_bytes` bounds bodies and Python's overhead together; bodies above a
    64th of it are not remembered. There are two generations: when the young one
    has half the bound it becomes the old one, and entries that were not used
    since are dropped. O(1), except for the hash of the body.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._generation_bytes = limit_bytes // 2
        self.body_bytes = limit_bytes // 64
        self._young: dict[Hashable, _Value] = {}
        self._old: dict[Hashable, _Value] = {}
        self._size_bytes = 0

    def get(self, request: tuple[Hashable, ...], size_bytes: int) -> _Value | None:
        """Return the remembered value, None if there is none; `size_bytes` is the size of the request."""
        value = self._young.get(request)
        if value is None and self._old:
            value = self._old.pop(request, None)
            if value is not None:
                self.remember(request, size_bytes, value)
        return value

    def remember(self, request: tuple[Hashable, ...], size_bytes: int, value: _Value) -> None:
        """Remember `value` for `request`, whose size is `size_bytes`."""
        if size_bytes > self.body_bytes:
            return
        self._size_bytes += size_bytes + _ENTRY_BYTES
        if self._size_bytes > self._generation_bytes:
            self._old, self._young = self._young, {}
            self._size_bytes = size_bytes + _ENTRY_BYTES
        self._young[request] = value


class Answered:
    """Hashes of requests recently answered from the cache: a hint which ones are worth a look-up."""

    KEPT = 8192

    def __init__(self) -> None:
        self.hashes: BoundedMemo[int, None] = BoundedMemo(self.KEPT)

    def note(self, asked: bytes | str) -> None:
        """Remember a request by its body, or by its path if there is none."""
        self.hashes.remember(hash(asked), None, 0)
