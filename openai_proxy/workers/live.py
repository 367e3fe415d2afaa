"""The live view in a worker: it tells the supervisor what it runs, and asks it for all.

The other end is `whole_live`.
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
from . import talk as say
from .link import Link, LinkLost

log = logger("openai_proxy")

REPORT_S = 1.0
"""How often the supervisor is told while nobody reads: what a worker that dies leaves is no older."""


class SharedView:
    """A worker's `LiveView`: `make` gives it the table, once, before anything else.

    It reports while it is started, and to the end of the process: a row that
    it did not tell to have ended is taken for lost with it.
    """

    def __init__(self, link: Link, reactor: Any) -> None:
        self._link = link
        self._reactor = reactor
        self._table: LiveTable | None = None
        self._more: More
        self._watched = False
        self._timer: Any = None
        self.feed = LiveFeed(reactor, self._snapshot, lambda wanted: link.tell(say.WATCH, wanted))

    def make(self, table: LiveTable, more: More) -> SharedView:
        """Be the view of this worker's table."""
        self._table, self._more = table, more
        return self

    # ---- what it runs

    def start(self) -> None:
        if self._timer is None:
            self._timer = self._reactor.callLater(REPORT_S, self._report)

    def stop(self) -> None:
        self.feed.finish()

    def finish(self) -> None:
        """Tell the last changes: the worker ends."""
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
            self._link.tell(say.LIVE, changes)

    # ---- what the supervisor tells and asks

    def set_watched(self, watched: bool) -> None:
        """Tell more, and more often, while somebody reads somewhere."""
        self._watched = watched
        if watched and self._timer is not None:
            self._timer.reset(0.0)

    def news(self, changes: Changes) -> None:
        """Take what happened in some worker."""
        self.feed.push(changes)

    def stats(self, stats: Stats) -> None:
        self._more(stats).addCallbacks(
            self.feed.push_stats, lambda failure: log.failure("no stats for the live view", failure)
        )

    def running(self, wanted: Wanted) -> tuple[list[Row], int]:
        """Return the rows of this worker that run, and how many do; what has ended is told first."""
        if self._table is None:
            return [], 0
        self._tell()
        return self._table.rows(wanted), self._table.in_flight

    def own(self, id: str) -> Row | None:
        """Return all that this worker knows of one exchange."""
        return None if self._table is None else self._table.one(id)

    def stop_own(self, id: str) -> bool:
        """Cancel an exchange of this worker."""
        return self._table is not None and self._table.cancel(id)

    # ---- what somebody asks here

    def _ask(self, name: str, value: Any = None) -> Deferred[Any]:
        def alone(failure: Failure) -> None:
            failure.trap(LinkLost)
            raise ShuttingDown() from None  # without its supervisor a worker drains

        return self._link.ask(name, value).addErrback(alone)

    def listing(self, wanted: Wanted) -> Deferred[Listing]:
        return self._ask(say.LIVE_LIST, wanted)

    def one(self, id: str) -> Deferred[Row | None]:
        return self._ask(say.LIVE_ONE, id)

    def cancel(self, id: str) -> Deferred[bool]:
        return self._ask(say.LIVE_CANCEL, id)

    def _snapshot(self) -> Deferred[dict[str, Any]]:
        return self._ask(say.LIVE_SNAPSHOT).addCallback(self._whole)

    def _whole(self, snapshot: dict[str, Any]) -> Deferred[dict[str, Any]]:
        return self._more(snapshot["stats"]).addCallback(lambda stats: {**snapshot, "stats": stats})
