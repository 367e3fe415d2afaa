"""Limit log lines that clients can cause: at most one per interval, with the number of events."""

from __future__ import annotations

import time
from collections.abc import Callable

WHILE_S = 10.0


class OnceInAWhile:
    """Counts events; owned by the object that logs them."""

    def __init__(self, while_s: float = WHILE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._while_s = while_s
        self._clock = clock
        self._next_at = float("-inf")
        self._count = 0

    def count(self) -> int:
        """Count one event; return the number since the last log line if one is due, else 0."""
        self._count += 1
        now = self._clock()
        if now < self._next_at:
            return 0
        self._next_at = now + self._while_s
        count, self._count = self._count, 0
        return count
