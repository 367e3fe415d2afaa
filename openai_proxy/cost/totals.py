"""The totals by key and model for `/admin/usage`: an observer of the exchanges.

Without a file they are kept in memory, from the start of the process. With one
they are written about once a second, off the reactor's thread, and are those of
all processes that use the file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogEvent

from ..exchange.outcome import Outcome
from ..exchange.record import Exchange
from ..observe.lines.record import shown
from ..observe.metrics.labels import BoundedLabels, has_succeeded
from .budget import day_name
from .day_rows import OTHER, DayRows, DayTable, Totals

_MOST_NEAR = 4096
_DAY_S = 86400
REFUSED = frozenset((Outcome.REJECTED, Outcome.LIMIT))
"""Exchanges with these outcomes used nothing."""


class UsageTotals(DayRows):
    """Counts exchanges by day, key and model. Refused ones used nothing and are not counted.

    There is one for the daemon's whole life, which every publisher gets;
    `keep_in` sets the file, `stop` writes the rest. Takes 1 µs an exchange.
    """

    def __init__(self, timers: IReactorTime) -> None:
        self.configured_models: Callable[[], Collection[str]] = frozenset
        """Returns the configured models, which always have rows of their own."""
        self._models = BoundedLabels(
            configured=lambda: self.configured_models(), uses=self._requests_by_model, release=self._forget
        )
        self._near: dict[tuple[str | None, str | None], Totals] = {}
        """Some of the rows of `_day`, by the key and the model that exchanges name."""
        self._day = ""
        self._day_begins = self._day_ends = 0.0
        table = DayTable("usage", "key", "model")
        super().__init__(timers, table, lambda key: (key[0], OTHER, OTHER), self._near.clear)

    def __call__(self, event: LogEvent) -> None:
        exchange: Exchange = event["exchange"]
        if exchange.outcome in REFUSED or not exchange.endpoint:
            return
        if not self._day_begins <= exchange.timestamp < self._day_ends:
            self._begin_day(exchange.timestamp)
        totals = self._near.get((exchange.key, exchange.model))
        if totals is None:
            totals = self._find(exchange)
        totals.count(exchange)
        if self._timer is None:
            self.write_soon()

    def _begin_day(self, timestamp: float) -> None:
        """Count for the day of `timestamp` from now on; exchanges that began before are counted in the previous day."""
        self._day = day_name(timestamp)
        self._day_begins = timestamp // _DAY_S * _DAY_S
        self._day_ends = self._day_begins + _DAY_S
        self._near.clear()

    def _find(self, exchange: Exchange) -> Totals:
        """Return the row of an exchange of this day, and cache it while there are few."""
        model = self._models.label(exchange.model, admit=has_succeeded(exchange)) if exchange.model else ""
        totals = self.row((self._day, exchange.key or "", model))
        if model != OTHER and len(self._near) < _MOST_NEAR:  # clients choose the names counted as `other`
            self._near[exchange.key, exchange.model] = totals
        return totals

    def _requests_by_model(self) -> dict[str, float]:
        """Return the number of today's requests for each model, from the cached rows."""
        uses: dict[str, float] = {}
        for (_, model), totals in self._near.items():
            uses[shown(model)] = uses.get(shown(model), 0.0) + totals.requests
        return uses

    def _forget(self, model: str) -> None:
        """Count further requests for a model as `other`; its rows stay."""
        for near in [near for near in self._near if shown(near[1]) == model]:
            del self._near[near]
