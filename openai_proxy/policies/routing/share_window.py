"""The share of failures among the latest outcomes. Pure: times are arguments."""

from __future__ import annotations

from attrs import define, field

HALF_S = 5.0


@define(slots=True, eq=False)
class ShareWindow:
    """Counts the outcomes of the last 5 to 10 seconds, in two halves: O(1) in time and space.

    Times are monotonic seconds.
    """

    _failed: int = field(default=0, init=False)
    _total: int = field(default=0, init=False)
    _failed_before: int = field(default=0, init=False)
    _total_before: int = field(default=0, init=False)
    _ends: float = field(default=float("-inf"), init=False)
    """When the current half ends."""

    def note(self, failed: bool, now: float) -> None:
        """Count one outcome."""
        if now >= self._ends:
            self._turn(now)
        self._total += 1
        if failed:
            self._failed += 1

    def counts(self, now: float) -> tuple[int, int]:
        """Return the number of failures and of all outcomes."""
        if now >= self._ends:
            self._turn(now)
        return self._failed + self._failed_before, self._total + self._total_before

    def clear(self) -> None:
        """Forget all outcomes."""
        self._failed = self._total = self._failed_before = self._total_before = 0

    def _turn(self, now: float) -> None:
        recent = now < self._ends + HALF_S
        self._failed_before = self._failed if recent else 0
        self._total_before = self._total if recent else 0
        self._failed = self._total = 0
        self._ends = self._ends + HALF_S if recent else now + HALF_S
