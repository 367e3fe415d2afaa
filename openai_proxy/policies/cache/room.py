"""How much memory the answers may take that are recorded: for the cache, for who shares them, for a retry. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol
from weakref import WeakKeyDictionary

from ...exchange.buffered_bytes import BufferedBytes, Lease


class Holds(Protocol):
    """Who holds answers that have ended."""

    def let_one_go(self) -> bool:
        """Hold one answer less; False if there is none."""
        ...


class Room:
    """A part of what bodies may take together: half at most, so that requests find room however many answers wait.

    Where there is none, those who `give_way` are asked, in the order they came.
    """

    def __init__(self, buffered: BufferedBytes) -> None:
        self._buffered = buffered
        self._recorded = BufferedBytes(buffered.limit_bytes // 2)
        self._holders: WeakKeyDictionary[Holds, None] = WeakKeyDictionary()
        """Those of configurations that a reload has replaced among them, as long as they hold something."""

    def give_way(self, holder: Holds) -> None:
        """Let `holder` make room for what runs."""
        self._holders[holder] = None

    def lease(self) -> RecordingLease:
        """Return what one recording takes, nothing yet."""
        return RecordingLease(Lease(self._recorded), Lease(self._buffered), self._holders)


class RecordingLease:
    """The share of one recording, of both."""

    def __init__(self, recorded: Lease, buffered: Lease, holders: Iterable[Holds]) -> None:
        self._recorded = recorded
        self._buffered = buffered
        self._holders = holders

    def take(self, size_bytes: int) -> bool:
        """Hold so many bytes more (fewer, if negative); False, and nothing changed, if there is no room."""
        while not self._maybe_take(size_bytes):
            if not any(holder.let_one_go() for holder in list(self._holders)):
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
