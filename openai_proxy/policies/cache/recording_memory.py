"""The memory bound for recorded answers: those of the cache, of shared calls, and of retries. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol
from weakref import WeakKeyDictionary

from ...exchange.buffered_bytes import BufferedBytes, Lease


class AnswerHolder(Protocol):
    """An owner of answers that have ended."""

    def release_one(self) -> bool:
        """Release one answer; return False if there is none."""
        ...


class RecordingMemory:
    """At most half of the bound for all bodies, so that enough is left for requests however many answers are held.

    If there is not enough, the holders registered with `register` are asked to
    release answers, in that order.
    """

    def __init__(self, buffered: BufferedBytes) -> None:
        self._buffered = buffered
        self._recorded = BufferedBytes(buffered.limit_bytes // 2)
        self._holders: WeakKeyDictionary[AnswerHolder, None] = WeakKeyDictionary()
        """Among them those of configurations that a reload has replaced, as long as they hold something."""

    def register(self, holder: AnswerHolder) -> None:
        """Register `holder` as one that releases answers if a running exchange needs the memory."""
        self._holders[holder] = None

    def lease(self) -> RecordingLease:
        """Return the lease of one recording, with nothing reserved yet."""
        return RecordingLease(Lease(self._recorded), Lease(self._buffered), self._holders)


class RecordingLease:
    """The lease of one recording, in both bounds."""

    def __init__(self, recorded: Lease, buffered: Lease, holders: Iterable[AnswerHolder]) -> None:
        self._recorded = recorded
        self._buffered = buffered
        self._holders = holders

    def take(self, size_bytes: int) -> bool:
        """Reserve this number of bytes more (fewer, if negative); return False, without effect, if that is too much."""
        while not self._maybe_take(size_bytes):
            if not any(holder.release_one() for holder in list(self._holders)):
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
        """Give back all that is reserved; idempotent."""
        self._recorded.free()
        self._buffered.free()
