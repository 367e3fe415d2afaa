"""Schedule costly work on the reactor's thread, so that other work runs in between.

A JSON body of a million small values takes half a second to decode, during
which nothing else is served. Such bodies are read one at a time, with a pause
after each that is longer than its reading took. The same is done for reads of
answers that take long to decode and filter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

T = TypeVar("T")

PAUSES = 3.0
"""The pause after a second of work, in seconds, during which no other such work begins."""
SHORT_S = 0.01
"""Shorter work has no pause after it."""


class Turns:
    """Runs one piece of work after the other, in the order of the calls.

    States: free, working (in one turn of the reactor), pausing. A waiter that
    is cancelled, because its client has left, loses its position.
    """

    def __init__(self, timers: IReactorTime, clock: Callable[[], float]) -> None:
        self._timers = timers
        self._clock = clock
        self._lock = DeferredLock()
        self._free_at = 0.0

    async def run(self, work: Callable[[], T]) -> T:
        """Return the result of `work()` once its turn has come; raise what it raises."""
        await self._lock.acquire()
        try:
            pause_s = self._free_at - self._clock()
            if pause_s > 0:
                await deferLater(self._timers, pause_s)
            started = self._clock()
            try:
                return work()
            finally:
                now = self._clock()
                self._free_at = now + PAUSES * (now - started) if now - started > SHORT_S else 0.0
        finally:
            self._lock.release()


class Rests:
    """Lets callers whose work took long continue one after the other, with a pause before each."""

    def __init__(self, timers: IReactorTime) -> None:
        self._timers = timers
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._is_pausing = False

    def wait(self, worked_s: float, go_on: Callable[[], None]) -> None:
        """Call `go_on` when the turn of a caller that has worked for `worked_s` seconds has come. O(1)."""
        self._waiting.append((PAUSES * worked_s, go_on))
        if not self._is_pausing:
            self._pause()

    def _pause(self) -> None:
        pause_s, go_on = self._waiting.popleft()
        self._is_pausing = True
        self._timers.callLater(pause_s, self._over, go_on)

    def _over(self, go_on: Callable[[], None]) -> None:
        self._is_pausing = False
        if self._waiting:
            self._pause()
        go_on()
