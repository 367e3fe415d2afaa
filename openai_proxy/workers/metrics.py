"""The metrics page of all workers and of the supervisor itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.python.failure import Failure

from ..observe.live.figures import Figures, figures_of
from ..observe.metrics.scrapes import Scrapes, form_of
from .messages import COLLECT
from .process import WorkerProcess
from .totals import Snapshot, Totals, snapshot

COLLECT_S = 4.0
"""The time that a worker may take to report its metrics; after that its last ones are used."""


class CombinedMetrics:
    """Asks every worker that is `ready` and adds up their metrics; owned by the supervisor."""

    def __init__(
        self,
        reactor: Any,
        ready: Callable[[], Sequence[WorkerProcess]],
        configured_models: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._reactor = reactor
        self._ready = ready
        self._scrapes = Scrapes(reactor.seconds)
        self._waiting: list[tuple[bytes, Deferred[tuple[str, bytes]]]] = []
        self._totals = Totals(configured_models)
        self._own = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self._own)
        running = Gauge("openai_proxy_workers", "Worker processes that accept.", registry=self._own)
        running.set_function(lambda: sum(not each.is_draining for each in ready()))
        worked = Gauge(
            "openai_proxy_config_last_reload_successful",
            "Whether the configuration that was loaded last is in use.",
            registry=self._own,
        )
        worked.set(1)
        self.reload_worked = worked
        """Workers reload at the supervisor's request; only the supervisor knows of a refusal."""
        self.restarted = Counter(
            "openai_proxy_worker_restarts_total",
            "Workers started in place of one that ended.",
            registry=self._own,
        )

    def report(self, worker: WorkerProcess, counts: Snapshot) -> None:
        """Take the present counts of a worker."""
        self._totals.report(worker, counts)

    def figures(self) -> Figures:
        """Return the few sums that the live view draws, from the workers' last reports."""
        return figures_of(self._totals.collect())

    def end(self, worker: WorkerProcess) -> None:
        """Keep the counters of a worker that has ended."""
        self._totals.end(worker)

    def page(self, accept: bytes) -> Deferred[tuple[str, bytes]]:
        """Fire with content type and body of the page, in the format that `accept` asks for.

        Readers that come while the workers are asked share the result.
        """
        last = self._scrapes.maybe_last(accept)
        if last is not None:
            return succeed(last)
        waiting: Deferred[tuple[str, bytes]] = Deferred()
        self._waiting.append((accept, waiting))
        if len(self._waiting) == 1:
            self._collect()
        return waiting

    def _collect(self) -> None:
        began = self._reactor.seconds()
        asked = [
            each.link.request(COLLECT)
            .addTimeout(COLLECT_S, self._reactor)
            .addCallback(partial(self._totals.report, each))
            for each in self._ready()
        ]
        collected: Deferred[Any] = DeferredList(asked, consumeErrors=True)
        collected.addCallback(lambda _: self._answer(began))

    def _answer(self, began: float) -> None:
        """Give every waiting reader its page; each format is made once."""
        waiting, self._waiting = self._waiting, []
        pages: dict[str, tuple[str, bytes]] = {}
        try:
            self._totals.report(self, snapshot(self._own))
            for accept in dict(waiting):
                if form_of(accept) not in pages:
                    page = pages[form_of(accept)] = self._totals.page(accept.decode("latin-1"))
                    self._scrapes.made(accept, page, self._reactor.seconds() - began)
        except Exception:
            failure = Failure()
            for _, reader in waiting:
                reader.errback(failure)
            return
        for accept, reader in waiting:
            reader.callback(pages[form_of(accept)])
