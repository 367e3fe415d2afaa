"""Log lines that strangers can cause: at most one in a while, with their number."""

from __future__ import annotations

import time
from collections.abc import Callable

WHILE_S = 10.0


class OnceInAWhile:
    """Counts events; owned by what would log them."""

    def __init__(self, while_s: float = WHILE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._while_s = while_s
        self._clock = clock
        self._next_at = float("-inf")
        self._count = 0

    def count(self) -> int:
        """Count one event; return how many there were since the last that was to be told, 0 for silence now."""
        self._count += 1
        now = self._clock()
        if now < self._next_at:
            return 0
        self._next_at = now + self._while_s
        count, self._count = self._count, 0
        return count
