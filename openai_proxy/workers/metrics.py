"""The metrics page of all workers and of the supervisor itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from twisted.internet.defer import Deferred, DeferredList

from .messages import COLLECT
from .process import WorkerProcess
from .totals import Snapshot, Totals, snapshot

COLLECT_S = 4.0
"""How long a worker may take to tell its metrics; then its last ones stand."""


class WholeMetrics:
    """Asks every worker that is `ready` and adds up; owned by the supervisor."""

    def __init__(
        self,
        reactor: Any,
        ready: Callable[[], Sequence[WorkerProcess]],
        configured_models: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._reactor = reactor
        self._ready = ready
        self._totals = Totals(configured_models)
        self._own = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self._own)
        running = Gauge("openai_proxy_workers", "Worker processes that accept.", registry=self._own)
        running.set_function(lambda: sum(not each.is_draining for each in ready()))
        self.restarted = Counter(
            "openai_proxy_worker_restarts_total",
            "Workers started in place of one that ended.",
            registry=self._own,
        )

    def report(self, worker: WorkerProcess, counts: Snapshot) -> None:
        """Take what a worker counts by now."""
        self._totals.report(worker, counts)

    def end(self, worker: WorkerProcess) -> None:
        """Keep the counters of a worker that has ended."""
        self._totals.end(worker)

    def page(self, accept: bytes) -> Deferred[tuple[str, bytes]]:
        """Fire with content type and body of the page, in the format that `accept` asks for."""
        asked = [
            each.link.ask(COLLECT)
            .addTimeout(COLLECT_S, self._reactor)
            .addCallback(partial(self._totals.report, each))
            for each in self._ready()
        ]
        collected: Deferred[Any] = DeferredList(asked, consumeErrors=True)
        return collected.addCallback(lambda _: self._whole_page(accept))

    def _whole_page(self, accept: bytes) -> tuple[str, bytes]:
        self._totals.report(self, snapshot(self._own))
        return self._totals.page(accept.decode("latin-1"))
