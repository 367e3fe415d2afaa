"""How many bytes of bodies are held in memory, over all connections. Pure.

Of requests, of answers about background responses, which are read whole, of
documents and long events from which thoughts are removed, and of answers
that are recorded: for the cache, for who shares them, for a retry.

One connection is bounded by the limits of its body; this bounds what many
of them hold together.
"""

from __future__ import annotations

SMALL_BYTES = 4096
"""A body of this size that came in one read is not counted: `limits.connections` bounds how many there are."""


TOO_MUCH_BUFFERED = "This proxy holds too many request bodies in memory (limits.buffered_bytes)."


class BufferedBytes:
    """What is held of at most `limit_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0


class Lease:
    """The share of one request; free it exactly when its body is let go of. Freeing twice frees once."""

    __slots__ = ("_size_bytes", "of")

    def __init__(self, of: BufferedBytes) -> None:
        self.of = of
        self._size_bytes = 0

    def take(self, size_bytes: int) -> bool:
        """Hold so many bytes more; False, and nothing held, if that is above the limit."""
        of = self.of
        if of.held_bytes + size_bytes > of.limit_bytes:
            return False
        of.held_bytes += size_bytes
        self._size_bytes += size_bytes
        return True

    def hold(self, size_bytes: int) -> bool:
        """Hold so many bytes in all, no fewer than before; False, and what was held before, if there is no room."""
        return self.take(size_bytes - self._size_bytes)

    def free(self, _ended: object = None) -> None:
        """Hold nothing any more. Takes an ended exchange, to be given to `on_end`."""
        self.of.held_bytes -= self._size_bytes
        self._size_bytes = 0
