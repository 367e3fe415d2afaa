"""The table of the exchanges of all workers, kept by the supervisor.

Workers report their running and ended exchanges to it; the running ones of a
crashed worker have ended as lost. A worker with a reader asks it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, succeed

from ..observe.live.figures import Figures
from ..observe.live.pulse import POINT_S, Pulse
from ..observe.live.rows import ENDED, RUNNING, Row, Wanted, as_lost
from ..observe.live.table import Changes
from ..observe.live.view import STATS_S, Listing
from . import messages
from .process import WorkerProcess

ASK_S = 2.0
"""The time that a worker may take to answer; after that its last report is used."""


class CombinedLive:
    """Owned by the pool. `ready` returns the workers that can be asked, `history` the number of ended exchanges that are kept."""

    def __init__(
        self,
        reactor: Any,
        ready: Callable[[], Sequence[WorkerProcess]],
        figures: Callable[[], Figures],
        history: Callable[[], int],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._reactor = reactor
        self._ready = ready
        self._figures = figures
        self._history = history
        self._wall_clock = wall_clock
        self._running: dict[WorkerProcess, dict[str, Row]] = {}
        self._ended: deque[Row] = deque()
        self._watching: set[WorkerProcess] = set()
        self._pulse = Pulse()
        self._timer: Any = None

    def start(self) -> None:
        """Begin to sample the figures."""
        self._look()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._reactor.callLater(STATS_S if self._watching else POINT_S, self._look)
        if self._history():
            self._pulse.sample(
                self._reactor.seconds(), self._wall_clock(), self._figures(), self._in_flight()
            )
        for each in self._watching:
            each.link.send(messages.LIVE_STATS, self._stats())

    def _in_flight(self) -> int:
        return sum(map(len, self._running.values()))

    def _stats(self) -> dict[str, Any]:
        return {**self._pulse.stats(), "in_flight": self._in_flight()}

    # ---- messages from workers

    def changed(self, worker: WorkerProcess, changes: Changes) -> None:
        """Take the changes of a worker."""
        running = self._running.setdefault(worker, {})
        for row in (*changes.started, *changes.progress):
            running[row["id"]] = row
        for row in changes.ended:
            running.pop(row["id"], None)
            self._keep(row)
        self._pass_on(changes)

    def _keep(self, row: Row) -> None:
        self._ended.append(row)
        while len(self._ended) > self._history():
            self._ended.popleft()

    def _pass_on(self, changes: Changes) -> None:
        for each in self._watching:
            each.link.send(messages.LIVE_NEWS, changes)

    def watch(self, worker: WorkerProcess, wanted: bool) -> None:
        """Note whether somebody reads at a worker."""
        before = bool(self._watching)
        if wanted:
            self._watching.add(worker)
        else:
            self._watching.discard(worker)
        if bool(self._watching) is not before:
            for each in self._ready():
                each.link.send(messages.LIVE_WATCHED, bool(self._watching))
            if self._watching and self._timer is not None:
                self._timer.reset(STATS_S)

    def is_ready(self, worker: WorkerProcess) -> None:
        """Note that a worker has started."""
        if self._watching:
            worker.link.send(messages.LIVE_WATCHED, True)

    def lost(self, worker: WorkerProcess) -> None:
        """Note that a worker has ended: its running exchanges are lost."""
        lost = [as_lost(row) for row in self._running.pop(worker, {}).values()]
        for row in lost:
            self._keep(row)
        self.watch(worker, False)
        if lost:
            self._pass_on(Changes(ended=lost))

    # ---- requests from workers

    def listing(self, wanted: Wanted) -> Deferred[Listing]:
        """Fire with the running and ended exchanges of all workers."""
        asked = Wanted(RUNNING, wanted.key, wanted.model, wanted.endpoint, wanted.limit)
        answers = self._ask_all(messages.LIVE_RUNNING, asked)
        return answers.addCallback(lambda answers: self._listing(wanted, answers))

    def _listing(self, wanted: Wanted, answers: list[tuple[list[Row], int]]) -> Listing:
        rows: list[Row] = []
        if wanted.state != ENDED:
            rows += sorted((row for found, _ in answers for row in found), key=lambda row: row["age_s"])
        if wanted.state != RUNNING:
            rows += [row for row in reversed(self._ended) if wanted.has(row)]
        return Listing(rows[: wanted.limit], sum(count for _, count in answers))

    def _ask_all(self, name: str, value: Any) -> Deferred[list[Any]]:
        asked = [each.link.request(name, value).addTimeout(ASK_S, self._reactor) for each in self._ready()]
        answers: Deferred[Any] = DeferredList(asked, consumeErrors=True)
        return answers.addCallback(lambda results: [result for worked, result in results if worked])

    def one(self, id: str) -> Deferred[Row | None]:
        """Fire with everything that is stored about one exchange."""
        worker = self._whose(id)
        asked = succeed(None) if worker is None else worker.link.request(messages.LIVE_OWN, id)
        asked.addTimeout(ASK_S, self._reactor).addErrback(lambda _: None)
        return asked.addCallback(
            lambda found: found or next((row for row in self._ended if row["id"] == id), None)
        )

    def cancel(self, id: str) -> Deferred[bool]:
        """Fire with whether such an exchange was running."""
        worker = self._whose(id)
        if worker is None:
            return succeed(False)
        asked = worker.link.request(messages.LIVE_STOP, id).addTimeout(ASK_S, self._reactor)
        return asked.addErrback(lambda _: False)  # the worker is gone, and its exchanges with it

    def _whose(self, id: str) -> WorkerProcess | None:
        """Return the worker whose number the id carries."""
        digits = id.removeprefix("proxy-")[:3]
        return next((each for each in self._ready() if f"{each.number:03x}" == digits), None)

    def snapshot(self, _: Any) -> Deferred[dict[str, Any]]:
        """Fire with all rows, the stats and the points of the last hour."""

        def whole(listing: Listing) -> dict[str, Any]:
            stats = {**self._stats(), "in_flight": listing.in_flight}
            return {
                "exchanges": listing.rows,
                "in_flight": listing.in_flight,
                "stats": stats,
                "points": self._pulse.points,
            }

        return self.listing(Wanted(limit=1000)).addCallback(whole)
