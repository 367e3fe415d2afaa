"""The live view in a worker: it reports its exchanges to the supervisor, and asks it for all.

The other end is `combined_live`.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..exchange.errors import ShuttingDown
from ..logs import logger
from ..observe.live.feed import LiveFeed
from ..observe.live.rows import Row, Wanted
from ..observe.live.table import Changes, LiveTable
from ..observe.live.view import CHANGES_S, Listing, More, Stats
from . import messages
from .link import Link, LinkLost

log = logger("openai_proxy")

REPORT_S = 1.0
"""The interval of reports while no client reads; it bounds the age of the last report of a crashed worker."""


class SharedView:
    """A worker's `LiveView`: `make` sets the table, once, before anything else.

    It reports from `start` to the end of the process, because the supervisor
    counts a row without a reported end as lost.
    """

    def __init__(self, link: Link, reactor: Any) -> None:
        self._link = link
        self._reactor = reactor
        self._table: LiveTable | None = None
        self._more: More
        self._watched = False
        self._timer: Any = None
        self.feed = LiveFeed(reactor, self._snapshot, lambda wanted: link.send(messages.WATCH, wanted))

    def make(self, table: LiveTable, more: More) -> SharedView:
        """Become the view of this worker's table."""
        self._table, self._more = table, more
        return self

    # ---- its own exchanges

    def start(self) -> None:
        if self._timer is None:
            self._timer = self._reactor.callLater(REPORT_S, self._report)

    def stop(self) -> None:
        self.feed.finish()

    def finish(self) -> None:
        """Report the last changes, because the worker ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._tell()

    def _report(self) -> None:
        self._timer = self._reactor.callLater(CHANGES_S if self._watched else REPORT_S, self._report)
        self._tell()

    def _tell(self) -> None:
        assert self._table is not None
        changes = self._table.changes(progress=self._watched)
        if changes:
            self._link.send(messages.LIVE, changes)

    # ---- messages and requests of the supervisor

    def set_watched(self, watched: bool) -> None:
        """Report more, and more often, while a client reads at any worker."""
        self._watched = watched
        if watched and self._timer is not None:
            self._timer.reset(0.0)

    def news(self, changes: Changes) -> None:
        """Pass on the changes of some worker."""
        self.feed.push(changes)

    def stats(self, stats: Stats) -> None:
        self._more(stats).addCallbacks(
            self.feed.push_stats, lambda failure: log.failure("no stats for the live view", failure)
        )

    def running(self, wanted: Wanted) -> tuple[list[Row], int]:
        """Return the running rows of this worker, and their number; ended ones are reported first."""
        if self._table is None:
            return [], 0
        self._tell()
        return self._table.rows(wanted), self._table.in_flight

    def own(self, id: str) -> Row | None:
        """Return everything that this worker has about one exchange."""
        return None if self._table is None else self._table.one(id)

    def stop_own(self, id: str) -> bool:
        """Cancel an exchange of this worker."""
        return self._table is not None and self._table.cancel(id)

    # ---- requests of readers

    def _ask(self, name: str, value: Any = None) -> Deferred[Any]:
        def alone(failure: Failure) -> None:
            failure.trap(LinkLost)
            raise ShuttingDown() from None  # a worker without its supervisor drains

        return self._link.request(name, value).addErrback(alone)

    def listing(self, wanted: Wanted) -> Deferred[Listing]:
        return self._ask(messages.LIVE_LIST, wanted)

    def one(self, id: str) -> Deferred[Row | None]:
        return self._ask(messages.LIVE_ONE, id)

    def cancel(self, id: str) -> Deferred[bool]:
        return self._ask(messages.LIVE_CANCEL, id)

    def _snapshot(self) -> Deferred[dict[str, Any]]:
        return self._ask(messages.LIVE_SNAPSHOT).addCallback(self._whole)

    def _whole(self, snapshot: dict[str, Any]) -> Deferred[dict[str, Any]]:
        return self._more(snapshot["stats"]).addCallback(lambda stats: {**snapshot, "stats": stats})
