"""Send a worker's metrics to the supervisor.

The other end is `metrics`, which adds up the metrics of all workers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from ..logs import logger
from ..observe.metrics.prometheus import find_metrics
from ..observe.publisher import ExchangePublisher
from .link import Link, LinkLost
from .messages import COUNTS, SCRAPE
from .totals import Snapshot, Totals, snapshot

log = logger("openai_proxy")

REPORT_EVERY_S = 1.0
"""The greatest age of the last counts of a killed worker."""


class Counts:
    """Reports the counts that have changed once a second (`start`), and the last ones at the end (`finish`).

    `publisher` returns the publisher in use, which has the metrics.
    """

    def __init__(self, link: Link, reactor: Any, publisher: Callable[[], ExchangePublisher]) -> None:
        self._link = link
        self._publisher = publisher
        self._reported: Snapshot = []
        self._reporting = LoopingCall(self._report)
        self._reporting.clock = reactor

    def start(self) -> None:
        """Begin to report, a second from now."""
        self._reporting.start(REPORT_EVERY_S, now=False).addErrback(
            lambda failure: log.failure("counts are no longer reported", failure)
        )

    def collect(self) -> Snapshot:
        """Return this worker's metrics, including all exchanges that have ended."""
        publisher = self._publisher()
        publisher.flush()
        metrics = find_metrics(publisher.observers)
        return [] if metrics is None else snapshot(metrics.registry)

    def _report(self) -> None:
        counts = self.collect()
        if _of_the_proxy(counts) != _of_the_proxy(self._reported):
            self._reported = counts
            self._link.send(COUNTS, counts)

    def page(self, accept: bytes) -> Deferred[tuple[str, bytes]]:
        """Fire with the page of all workers, or with this worker's own if the supervisor is gone."""

        def own(failure: Failure) -> tuple[str, bytes]:
            failure.trap(LinkLost)
            alone = Totals()
            alone.report(self, self.collect())
            return alone.page(accept.decode("latin-1"))

        return self._link.request(SCRAPE, accept).addErrback(own)

    def finish(self) -> None:
        """Send the last counts."""
        if self._reporting.running:
            self._reporting.stop()
        self._link.send(COUNTS, self.collect())


def _of_the_proxy(counts: Snapshot) -> Snapshot:
    """Return the families that traffic changes; those of the process change at every reading."""
    return [each for each in counts if not each[0].startswith(("process_", "python_"))]
