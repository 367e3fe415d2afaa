"""How much memory the answers may take that are recorded for a retry. Pure."""

from __future__ import annotations

from collections.abc import Callable

from ...exchange.buffered_bytes import BufferedBytes, Lease


class Room:
    """A part of what bodies may take together: half at most, so that requests find room however many answers wait.

    `let_one_go` gives up an answer that has ended and waits for a retry;
    it returns False if there is none.
    """

    def __init__(self, buffered: BufferedBytes, let_one_go: Callable[[], bool]) -> None:
        self._buffered = buffered
        self._let_one_go = let_one_go
        self._recorded = BufferedBytes(buffered.limit_bytes // 2)

    def lease(self) -> RecordingLease:
        """Return what one recording takes, nothing yet."""
        return RecordingLease(Lease(self._recorded), Lease(self._buffered), self._let_one_go)


class RecordingLease:
    """The share of one recording, of both."""

    def __init__(self, recorded: Lease, buffered: Lease, let_one_go: Callable[[], bool]) -> None:
        self._recorded = recorded
        self._buffered = buffered
        self._let_one_go = let_one_go

    def take(self, size_bytes: int) -> bool:
        """Hold so many bytes more (fewer, if negative); False, and nothing changed, if there is no room."""
        while not self._maybe_take(size_bytes):
            if not self._let_one_go():
                return False
        return True

    def _maybe_take(self, size_bytes: int) -> bool:
        if not self._recorded.take(size_bytes):
            return False
        if self._buffered.take(size_bytes):
            return True
        self._recorded.take(-size_bytes)
        return False

    def free(self) -> None:
        """Hold nothing any more; idempotent."""
        self._recorded.free()
        self._buffered.free()
