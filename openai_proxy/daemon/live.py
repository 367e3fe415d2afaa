"""The live view of this daemon: its table, and the view of all workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from ..cost.budget import day_name
from ..cost.totals import UsageTotals
from ..exchange.record import Exchange
from ..observe.exchange_log.line import exchange_line
from ..observe.live.figures import Figures, figures_of
from ..observe.live.observer import LiveObserver
from ..observe.live.table import Line, LiveTable, Stoppable
from ..observe.live.view import LiveView, LocalView, Stats
from ..observe.metrics.prometheus import find_metrics
from ..observe.publisher import ExchangePublisher
from ..settings import Settings
from .observers import upstream_keys

MakeView = Callable[[LiveTable, Callable[[Stats], "Deferred[Stats]"]], LiveView]


class Live:
    """Owned by `Serving`. It is off while `live.history` is 0: then nothing is kept and `view` is None."""

    def __init__(
        self,
        reactor: Any,
        running: Callable[[], Mapping[Exchange, Stoppable]],
        publisher: Callable[[], ExchangePublisher],
        usage: UsageTotals,
        upstreams: Callable[[], list[dict[str, Any]]],
        shared: MakeView | None,
    ) -> None:
        self._publisher = publisher
        self._usage = usage
        self._upstreams = upstreams
        self._history = 0
        self.table = LiveTable(running, lambda: self._publisher().flush(), time.monotonic)
        self._view: LiveView = (
            shared(self.table, self._more)
            if shared is not None
            else LocalView(self.table, reactor, self._figures, self._more)
        )
        self._started = False

    @property
    def view(self) -> LiveView | None:
        return self._view if self._history else None

    def observers(self, settings: Settings) -> list[LiveObserver]:
        """Return the observer that enters ended exchanges into the table; none if these settings turn the view off."""
        if not settings.live.history:
            return []
        return [LiveObserver(self.table, _line(settings), _body_limit_bytes(settings))]

    def configure(self, settings: Settings) -> None:
        """Apply new settings."""
        self._history = settings.live.history
        capture_bytes = settings.live.capture_bytes if self._history else 0
        self.table.keep_at_most(self._history, capture_bytes, _line(settings))
        if self._started:
            self.start()

    def start(self) -> None:
        """Begin to sample the figures, unless the view is off; may be called again."""
        self._started = True
        if self._history:
            self._view.start()
        else:
            self._view.stop()

    def stop(self) -> None:
        """Disconnect the readers; running exchanges continue, and can still be listed."""
        self._view.stop()

    def _figures(self) -> Figures | None:
        self._publisher().flush()
        found = find_metrics(self._publisher().observers)
        return None if found is None else figures_of(found.tallies.collect())

    def _more(self, stats: Stats) -> Deferred[Stats]:
        """Add today's spending and the state of the upstreams."""
        today = day_name(time.time())
        upstreams = self._upstreams()

        def whole(cost_usd: float | None) -> Stats:
            return {**stats, "cost_today_usd": cost_usd, "upstreams": upstreams}

        cost = self._usage.read(today, today).addCallbacks(
            lambda rows: round(sum(totals.cost_usd for _, totals in rows), 9), lambda _: None
        )
        return cost.addCallback(whole)


def _line(settings: Settings) -> Line | None:
    """Return a function that makes the exchange log's line of an exchange; None if bodies are not kept."""
    if not settings.live.capture_bytes:
        return None
    return partial(exchange_line, limit_bytes=_body_limit_bytes(settings), secrets=upstream_keys(settings))


def _body_limit_bytes(settings: Settings) -> int:
    return min(settings.limits.exchange_log_body_bytes, settings.live.capture_bytes)
