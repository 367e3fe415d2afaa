"""Count the requests that this process has at each upstream."""

from __future__ import annotations

from ...exchange.record import Exchange


class Passage:
    """One request, which is at one upstream at a time; `counts` are by the upstream's name."""

    __slots__ = ("_at", "_counts")

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts
        self._at: str | None = None

    def move(self, name: str) -> None:
        """Move the request to this upstream, away from the one before."""
        if self._at is not None:
            self._counts[self._at] -= 1
        self._counts[name] += 1
        self._at = name

    def leave(self) -> None:
        """Remove the request from all upstreams. Idempotent."""
        if self._at is not None:
            self._counts[self._at] -= 1
            self._at = None

    def end(self, exchange: Exchange) -> None:
        """Remove the request: its exchange has ended."""
        if self._at is not None:
            self._counts[self._at] -= 1
            self._at = None
