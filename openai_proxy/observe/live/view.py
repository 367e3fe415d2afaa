"""What the pages ask of the live view, and how a single process answers them.

With several workers the first process answers instead: `workers.live`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, succeed

from ...logs import logger
from .feed import LiveFeed
from .figures import Figures
from .pulse import POINT_S, Pulse
from .rows import Row, Wanted
from .table import LiveTable

log = logger(__name__)

CHANGES_S = 0.25
"""How often readers get what happened."""
STATS_S = 1.0


@frozen
class Listing:
    """The rows somebody asked for, and how many exchanges run in all."""

    rows: list[Row]
    in_flight: int


class LiveView(Protocol):
    """All that runs and has just ended in this daemon."""

    feed: LiveFeed

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def listing(self, wanted: Wanted) -> Deferred[Listing]: ...
    def one(self, id: str) -> Deferred[Row | None]: ...
    def cancel(self, id: str) -> Deferred[bool]:
        """Fire with whether such an exchange ran."""
        ...


Stats = dict[str, Any]
More = Callable[[Stats], "Deferred[Stats]"]
"""Adds to the stats what only this process knows: costs of today, upstreams."""


class LocalView:
    """The view of one process.

    `figures` gives what was counted, None if nobody counts. Nothing runs but
    a look at it every POINT_S while nobody reads.
    """

    def __init__(
        self,
        table: LiveTable,
        reactor: Any,
        figures: Callable[[], Figures | None],
        more: More,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._reactor = reactor
        self._figures = figures
        self._more = more
        self._wall_clock = wall_clock
        self._pulse = Pulse()
        self._point: Any = None
        self._tick: Any = None
        self._stats_at = 0.0
        self.feed = LiveFeed(reactor, self._snapshot, self._watch)

    def start(self) -> None:
        """Begin to look at the figures."""
        if self._point is None:
            self._look()

    def stop(self) -> None:
        """Look no more, and send the readers away."""
        self.feed.finish()
        if self._point is not None:
            self._point.cancel()
            self._point = None

    def _look(self) -> None:
        self._point = self._reactor.callLater(POINT_S, self._look)
        if self._tick is None:
            self._sample()

    def _sample(self) -> None:
        figures = self._figures()
        if figures is not None:
            self._pulse.sample(self._reactor.seconds(), self._wall_clock(), figures, self._table.in_flight)

    # ---- who reads along

    def _watch(self, wanted: bool) -> None:
        if wanted:
            self._table.forget_reported()
            self._table.changes(progress=False)  # what runs now is in the snapshot
            self._tick = self._reactor.callLater(CHANGES_S, self._tell)
        elif self._tick is not None:
            self._tick.cancel()
            self._tick = None
            self._table.forget_reported()  # what it holds would outlive its end

    def _tell(self) -> None:
        self._tick = self._reactor.callLater(CHANGES_S, self._tell)
        self.feed.push(self._table.changes(progress=True))
        now = self._reactor.seconds()
        if now - self._stats_at >= STATS_S - CHANGES_S / 2:
            self._stats_at = now
            self._sample()
            self._stats().addCallbacks(
                self.feed.push_stats, lambda failure: log.failure("no stats for the live view", failure)
            )

    def _stats(self) -> Deferred[Stats]:
        return self._more({**self._pulse.stats(), "in_flight": self._table.in_flight})

    def _snapshot(self) -> Deferred[dict[str, Any]]:
        def whole(stats: Stats) -> dict[str, Any]:
            return {
                "exchanges": self._table.rows(Wanted(limit=1000)),
                "in_flight": self._table.in_flight,
                "stats": stats,
                "points": self._pulse.points,
            }

        return self._stats().addCallback(whole)

    # ---- what somebody asks

    def listing(self, wanted: Wanted) -> Deferred[Listing]:
        return succeed(Listing(self._table.rows(wanted), self._table.in_flight))

    def one(self, id: str) -> Deferred[Row | None]:
        return succeed(self._table.one(id))

    def cancel(self, id: str) -> Deferred[bool]:
        return succeed(self._table.cancel(id))
