"""Count the bytes of bodies that are held in memory, over all connections. Pure.

These are bodies of requests, answers about background responses, which are read
whole, documents and long events from which thoughts are removed, and answers
that are recorded: for the cache, for shared calls, for a retry.

A limit bounds the body of one connection; this bounds the memory of all of them
together.
"""

from __future__ import annotations

SMALL_BYTES = 4096
"""A body up to this size that came in one read is not counted: `limits.connections` bounds their number."""


TOO_MUCH_BUFFERED = "This proxy holds too many request bodies in memory (limits.buffered_bytes)."


class BufferedBytes:
    """The number of bytes that are held, at most `limit_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0


class Lease:
    """The share of one request; free it exactly when its body is released. A second `free` does nothing."""

    __slots__ = ("_size_bytes", "of")

    def __init__(self, of: BufferedBytes) -> None:
        self.of = of
        self._size_bytes = 0

    def take(self, size_bytes: int) -> bool:
        """Reserve this number of bytes more; return False without effect if that exceeds the limit."""
        of = self.of
        if of.held_bytes + size_bytes > of.limit_bytes:
            return False
        of.held_bytes += size_bytes
        self._size_bytes += size_bytes
        return True

    def hold(self, size_bytes: int) -> bool:
        """Reserve this number of bytes in all, no fewer than before; return False without effect if there is no room."""
        return self.take(size_bytes - self._size_bytes)

    def free(self, _ended: object = None) -> None:
        """Give back all bytes. Accepts an ended exchange, so that it can be passed to `on_end`."""
        self.of.held_bytes -= self._size_bytes
        self._size_bytes = 0
