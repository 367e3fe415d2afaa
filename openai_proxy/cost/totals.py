"""The totals behind `/admin/usage`: an observer of the exchanges.

Without a file they are kept in memory, from the start on. With one they
are written there about once a second, off the reactor's thread, and are
those of all processes that use the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from ..exchange.record import Exchange, Outcome
from ..observe.lines.record import shown
from ..observe.metrics.labels import BoundedLabels, has_succeeded
from .budget import day_name
from .state_file import StateFile

WRITE_AFTER_S = 1.0
MOST_ROWS = 10_000
"""In memory: above, the rest of a day is one row, of the key and model `other`."""
OTHER = "other"
_MOST_NEAR = 4096
_DAY_S = 86400
REFUSED = frozenset((Outcome.REJECTED, Outcome.LIMIT))
"""Exchanges that ended so used nothing."""

Place = tuple[str, str, str]
"""Day, key and model; empty if there is none."""


@define
class Totals:
    """Sums over exchanges; `cached_tokens` are those of the upstream's prompt cache."""

    requests: int = 0
    cached_requests: int = 0
    """Answered from our cache: they cost nothing, and their tokens are not counted again."""
    unpriced_requests: int = 0
    """Used model tokens whose price is not known, or a WebSocket: `cost_usd` is too low by theirs."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float = 0.0

    def add(self, other: Totals) -> None:
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def count(self, exchange: Exchange) -> None:
        """Add one ended exchange."""
        self.requests += 1
        usage = exchange.usage
        if exchange.cached:
            self.cached_requests += 1
            return
        if exchange.cost_usd is not None:
            self.cost_usd += exchange.cost_usd
        elif usage is not None or (exchange.status == 101 and exchange.inspection is None):
            # of a tunnel nobody reads what it used; of a WebSocket that is read, each turn says it
            self.unpriced_requests += 1
        if usage is not None:
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens
            self.cached_tokens += usage.cached_tokens
            self.reasoning_tokens += usage.reasoning_tokens


COUNTED = tuple(Totals.__annotations__)
Row = tuple[Place, Totals]

_NAMES = ", ".join(COUNTED)
_ADD = (
    f"INSERT INTO usage (day, key, model, {_NAMES})"  # noqa: S608  # names of our own
    f" VALUES (?, ?, ?, {', '.join('?' for _ in COUNTED)})"
    f" ON CONFLICT (day, key, model) DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in COUNTED)}"
)
_READ = (
    f"SELECT day, key, model, {_NAMES} FROM usage"  # noqa: S608  # names of our own
    " WHERE day >= ? AND day <= ? AND (key = ? OR ? IS NULL) ORDER BY day, key, model"
)


def _write(rows: Iterable[Row]) -> Callable[[sqlite3.Connection], None]:
    values = [(*place, *(getattr(totals, name) for name in COUNTED)) for place, totals in rows]

    def work(connection: sqlite3.Connection) -> None:
        connection.executemany(_ADD, values)

    return work


class UsageTotals:
    """Counts exchanges by day, key and model. Refused ones used nothing and are not counted.

    One for the daemon's whole life, given to each publisher; `keep_in`
    says where, `stop` writes the rest. Costs 1 µs an exchange.
    """

    def __init__(self, timers: IReactorTime) -> None:
        self._timers = timers
        self._file: StateFile | None = None
        self.configured_models: Callable[[], Collection[str]] = frozenset
        """Returns the models that the configuration names: they always have rows of their own."""
        self._models = BoundedLabels(
            configured=lambda: self.configured_models(), uses=self._requests_by_model, release=self._forget
        )
        self._rows: dict[Place, Totals] = {}
        """All there is without a file, else what is not in the file yet."""
        self._near: dict[tuple[str | None, str | None], Totals] = {}
        """Some of the rows of `_day`, by the key and the model that exchanges name."""
        self._timer: IDelayedCall | None = None
        self._day = ""
        self._day_begins = self._day_ends = 0.0

    def keep_in(self, file: StateFile | None) -> None:
        """Write to `file` from now on, also what was counted so far; None keeps in memory."""
        if self._file is not file:
            self._flush()
        self._file = file
        self._write_soon()

    @property
    def kept(self) -> bool:
        """Whether the totals are those of a file."""
        return self._file is not None

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
        if self._timer is None and self._file is not None:
            self._write_soon()

    def _begin_day(self, timestamp: float) -> None:
        """Count for the day of `timestamp` from now on; late exchanges go back to the one before."""
        self._day = day_name(timestamp)
        self._day_begins = timestamp // _DAY_S * _DAY_S
        self._day_ends = self._day_begins + _DAY_S
        self._near.clear()

    def _find(self, exchange: Exchange) -> Totals:
        """Return the row of an exchange of this day, and remember it while there are few."""
        model = self._models.label(exchange.model, admit=has_succeeded(exchange)) if exchange.model else ""
        totals = self._row((self._day, exchange.key or "", model))
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
        self._near = {near: totals for near, totals in self._near.items() if shown(near[1]) != model}

    def _row(self, place: Place) -> Totals:
        row = self._rows.get(place)
        if row is None:
            if len(self._rows) >= MOST_ROWS:
                place = (place[0], OTHER, OTHER)
            row = self._rows.setdefault(place, Totals())
        return row

    def _write_soon(self) -> None:
        if self._file is not None and self._rows and self._timer is None:
            self._timer = self._timers.callLater(WRITE_AFTER_S, self._expired)

    def _expired(self) -> None:
        self._timer = None
        self._flush()

    def _flush(self) -> Deferred[Any]:
        """Hand what was counted to the file; it comes back where the file fails."""
        if self._file is None or not self._rows:
            return succeed(None)
        rows, self._rows = self._rows, {}
        self._near.clear()

        def take_back(_: Failure) -> None:
            for place, totals in rows.items():
                self._row(place).add(totals)
            self._write_soon()

        return self._file.run(_write(rows.items())).addErrback(take_back)

    def read(self, first_day: str, last_day: str, key: str | None = None) -> Deferred[list[Row]]:
        """Return the rows of these days, both included, by day, key and model; only those of `key` if given.

        Fails as the file does.
        """
        if self._file is None:
            rows = [row for row in self._rows.items() if first_day <= row[0][0] <= last_day]
            if key is not None:
                rows = [row for row in rows if row[0][1] == key]
            return succeed(sorted(rows, key=lambda row: row[0]))
        self._flush()  # done before what is asked for next

        def work(connection: sqlite3.Connection) -> list[Row]:
            found = connection.execute(_READ, (first_day, last_day, key, key))
            return [((day, whose, model), Totals(*counts)) for day, whose, model, *counts in found]

        return self._file.run(work)

    def stop(self) -> Deferred[Any]:
        """Write what is not written yet. Each publisher that goes calls it, and counting goes on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._flush()
