"""How many requests are on their way at each upstream, counted by this process."""

from __future__ import annotations

from ...exchange.record import Exchange


class Passage:
    """One request, which is at one upstream at a time; `counts` are by the upstream's name."""

    __slots__ = ("_at", "_counts")

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts
        self._at: str | None = None

    def move(self, name: str) -> None:
        """It goes to this upstream, and is no longer where it was."""
        if self._at is not None:
            self._counts[self._at] -= 1
        self._counts[name] += 1
        self._at = name

    def leave(self) -> None:
        """It is nowhere any more. Idempotent."""
        if self._at is not None:
            self._counts[self._at] -= 1
            self._at = None

    def end(self, exchange: Exchange) -> None:
        """The exchange has ended."""
        if self._at is not None:
            self._counts[self._at] -= 1
            self._at = None
