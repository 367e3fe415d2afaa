"""The totals by tag and by end user behind `/admin/usage`: an observer of the exchanges.

Kept as the totals by key and model are: in memory, or written to the state
file about once a second. A budget never goes by them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from ..exchange.record import Exchange
from .budget import day_name
from .state_file import StateFile
from .totals import COUNTED, MOST_ROWS, OTHER, REFUSED, WRITE_AFTER_S, Totals

END_USER = "end_user"
Tagged = tuple[str, str, str]
"""Day, tag (`end_user` for an end user), value."""
TagRow = tuple[Tagged, Totals]

_NAMES = ", ".join(COUNTED)
_ADD = (
    f"INSERT INTO tag_usage (day, tag, value, {_NAMES})"  # noqa: S608  # names of our own
    f" VALUES (?, ?, ?, {', '.join('?' for _ in COUNTED)})"
    f" ON CONFLICT (day, tag, value) DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in COUNTED)}"
)
_READ = (
    f"SELECT day, tag, value, {_NAMES} FROM tag_usage"  # noqa: S608  # names of our own
    " WHERE day >= ? AND day <= ? ORDER BY day, tag, value"
)


def _write(rows: Iterable[TagRow]) -> Callable[[sqlite3.Connection], None]:
    values = [(*tagged, *(getattr(totals, name) for name in COUNTED)) for tagged, totals in rows]

    def work(connection: sqlite3.Connection) -> None:
        connection.executemany(_ADD, values)

    return work


class TagTotals:
    """Counts exchanges by day and tag, and by day and end user; those without either cost a look."""

    def __init__(self, timers: IReactorTime) -> None:
        self._timers = timers
        self._file: StateFile | None = None
        self._rows: dict[Tagged, Totals] = {}
        """All there is without a file, else what is not in the file yet."""
        self._timer: IDelayedCall | None = None

    def keep_in(self, file: StateFile | None) -> None:
        """Write to `file` from now on, also what was counted so far; None keeps in memory."""
        if self._file is not file:
            self._flush()
        self._file = file
        self._write_soon()

    def __call__(self, event: LogEvent) -> None:
        exchange: Exchange = event["exchange"]
        tags, user = exchange.tags, exchange.end_user
        if (not tags and user is None) or exchange.outcome in REFUSED or not exchange.endpoint:
            return
        day = day_name(exchange.timestamp)
        for tag, value in tags:
            self._row((day, tag, value)).count(exchange)
        if user is not None:
            self._row((day, END_USER, user)).count(exchange)
        self._write_soon()

    def _row(self, tagged: Tagged) -> Totals:
        row = self._rows.get(tagged)
        if row is None:
            if len(self._rows) >= MOST_ROWS:
                tagged = (*tagged[:2], OTHER)
            row = self._rows.setdefault(tagged, Totals())
        return row

    def _write_soon(self) -> None:
        if self._file is not None and self._rows and self._timer is None:
            self._timer = self._timers.callLater(WRITE_AFTER_S, self._expired)

    def _expired(self) -> None:
        self._timer = None
        self._flush()

    def _flush(self) -> Deferred[Any]:
        if self._file is None or not self._rows:
            return succeed(None)
        rows, self._rows = self._rows, {}

        def take_back(_: Failure) -> None:
            for tagged, totals in rows.items():
                self._row(tagged).add(totals)
            self._write_soon()

        return self._file.run(_write(rows.items())).addErrback(take_back)

    def read(self, first_day: str, last_day: str) -> Deferred[list[TagRow]]:
        """Return the rows of these days, both included, by day, tag and value. Fails as the file does."""
        if self._file is None:
            rows = [row for row in self._rows.items() if first_day <= row[0][0] <= last_day]
            return succeed(sorted(rows, key=lambda row: row[0]))
        self._flush()  # done before what is asked for next

        def work(connection: sqlite3.Connection) -> list[TagRow]:
            found = connection.execute(_READ, (first_day, last_day))
            return [((day, tag, value), Totals(*counts)) for day, tag, value, *counts in found]

        return self._file.run(work)

    def stop(self) -> Deferred[Any]:
        """Write what is not written yet. Each publisher that goes calls it, and counting goes on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._flush()
