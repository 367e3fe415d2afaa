"""The totals by key and model behind `/admin/usage`: an observer of the exchanges.

Without a file they are kept in memory, from the start on. With one they
are written there about once a second, off the reactor's thread, and are
those of all processes that use the file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogEvent

from ..exchange.record import Exchange, Outcome
from ..observe.lines.record import shown
from ..observe.metrics.labels import BoundedLabels, has_succeeded
from .budget import day_name
from .day_rows import OTHER, DayRows, DayTable, Totals

_MOST_NEAR = 4096
_DAY_S = 86400
REFUSED = frozenset((Outcome.REJECTED, Outcome.LIMIT))
"""Exchanges that ended so used nothing."""


class UsageTotals(DayRows):
    """Counts exchanges by day, key and model. Refused ones used nothing and are not counted.

    One for the daemon's whole life, given to each publisher; `keep_in`
    says where, `stop` writes the rest. Costs 1 µs an exchange.
    """

    def __init__(self, timers: IReactorTime) -> None:
        self.configured_models: Callable[[], Collection[str]] = frozenset
        """Returns the models that the configuration names: they always have rows of their own."""
        self._models = BoundedLabels(
            configured=lambda: self.configured_models(), uses=self._requests_by_model, release=self._forget
        )
        self._near: dict[tuple[str | None, str | None], Totals] = {}
        """Some of the rows of `_day`, by the key and the model that exchanges name."""
        self._day = ""
        self._day_begins = self._day_ends = 0.0
        table = DayTable("usage", "key", "model")
        super().__init__(timers, table, lambda place: (place[0], OTHER, OTHER), self._near.clear)

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
        """Count for the day of `timestamp` from now on; late exchanges go back to the one before."""
        self._day = day_name(timestamp)
        self._day_begins = timestamp // _DAY_S * _DAY_S
        self._day_ends = self._day_begins + _DAY_S
        self._near.clear()

    def _find(self, exchange: Exchange) -> Totals:
        """Return the row of an exchange of this day, and remember it while there are few."""
        model = self._models.label(exchange.model, admit=has_succeeded(exchange)) if exchange.model else ""
        totals = self.row((self._day, exchange.key or "", model))
        if model != OTHER and len(self._near) < _MOST_NEAR:  # strangers choose the names behind `other`
            self._near[exchange.key, exchange.model] = totals
        return totals

    def _requests_by_model(self) -> dict[str, float]:
        """Return how often each model was used today, as far as the rows are near."""
        uses: dict[str, float] = {}
        for (_, model), totals in self._near.items():
            uses[shown(model)] = uses.get(shown(model), 0.0) + totals.requests
        return uses

    def _forget(self, model: str) -> None:
        """Count what comes of a model under `other` from now on; its rows stay."""
        for near in [near for near in self._near if shown(near[1]) == model]:
            del self._near[near]
