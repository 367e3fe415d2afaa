"""Sums over exchanges by day and two names: in memory, or written to the state file about once a second.

The common base of the totals by key and model and those by tag.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ..exchange.record import Exchange
from .state_file import StateFile

WRITE_AFTER_S = 1.0
MOST_ROWS = 10_000
"""The most rows in memory; above, the rest of a day is counted in the rows that `other` names."""
OTHER = "other"

RowKey = tuple[str, str, str]
"""The key of a row: the day and two names."""


@define
class Totals:
    """Sums over exchanges; `cached_tokens` are tokens from the upstream's prompt cache."""

    requests: int = 0
    cached_requests: int = 0
    """The number answered from this proxy's cache: they cost nothing, and their tokens are not counted again."""
    unpriced_requests: int = 0
    """The number without a known price, and of unread WebSockets: `cost_usd` does not include theirs."""
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
            # the usage of a tunnel is unknown; a WebSocket that is read has it in its turns
            self.unpriced_requests += 1
        if usage is not None:
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens
            self.cached_tokens += usage.cached_tokens
            self.reasoning_tokens += usage.reasoning_tokens


COUNTED = tuple(Totals.__annotations__)
Row = tuple[RowKey, Totals]


@frozen
class DayTable:
    """A table of the state file: its name, and those of its two columns after `day`."""

    name: str
    first: str
    second: str

    @property
    def _columns(self) -> str:
        return f"day, {self.first}, {self.second}"

    def add(self, rows: Iterable[Row]) -> Callable[[sqlite3.Connection], None]:
        """Return the work that adds `rows` to those in the table."""
        values = [(*key, *(getattr(totals, name) for name in COUNTED)) for key, totals in rows]
        statement = (
            f"INSERT INTO {self.name} ({self._columns}, {', '.join(COUNTED)})"  # noqa: S608  # names of our own
            f" VALUES (?, ?, ?, {', '.join('?' for _ in COUNTED)}) ON CONFLICT ({self._columns})"
            f" DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in COUNTED)}"
        )

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(statement, values)

        return work

    def read(
        self, first_day: str, last_day: str, first: str | None
    ) -> Callable[[sqlite3.Connection], list[Row]]:
        """Return the work that reads the rows of these days, all or those with one `first`, in order."""
        statement = (
            f"SELECT {self._columns}, {', '.join(COUNTED)} FROM {self.name}"  # noqa: S608  # names of our own
            f" WHERE day >= ? AND day <= ? AND ({self.first} = ? OR ? IS NULL) ORDER BY {self._columns}"
        )

        def work(connection: sqlite3.Connection) -> list[Row]:
            found = connection.execute(statement, (first_day, last_day, first, first))
            return [((day, one, other), Totals(*counts)) for day, one, other, *counts in found]

        return work


class DayRows:
    """Counts exchanges in rows. `keep_in` sets the file for the rows, `stop` writes those that are not written
    yet.

    `other` returns the key of the row that is used once there are MOST_ROWS
    rows. `flushed` is called when the rows have been handed to the file.
    """

    def __init__(
        self,
        timers: IReactorTime,
        table: DayTable,
        other: Callable[[RowKey], RowKey],
        flushed: Callable[[], object] = lambda: None,
    ) -> None:
        self._timers = timers
        self._table = table
        self._other = other
        self._flushed = flushed
        self._file: StateFile | None = None
        self._rows: dict[RowKey, Totals] = {}
        """All rows if there is no file, else those that are not in the file yet."""
        self._timer: IDelayedCall | None = None

    def keep_in(self, file: StateFile | None) -> None:
        """Write to `file` from now on, including what was counted so far; None keeps the rows in memory."""
        if self._file is not file:
            self._flush()
        self._file = file
        self.write_soon()

    @property
    def kept(self) -> bool:
        """Whether the totals are those of a file."""
        return self._file is not None

    @property
    def unwritten(self) -> int:
        """The number of requests that the file does not have yet; 0 without a file."""
        return 0 if self._file is None else sum(totals.requests for totals in self._rows.values())

    def row(self, key: RowKey) -> Totals:
        """Return the row with this key, to count in; call `write_soon` afterwards."""
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= MOST_ROWS:
                key = self._other(key)
            row = self._rows.setdefault(key, Totals())
        return row

    def write_soon(self) -> None:
        """Write within WRITE_AFTER_S."""
        if self._timer is None and self._file is not None and self._rows:
            self._timer = self._timers.callLater(WRITE_AFTER_S, self._expired)

    def _expired(self) -> None:
        self._timer = None
        self._flush()

    def _flush(self) -> Deferred[Any]:
        """Hand the rows to the file; they are taken back if the file fails."""
        if self._file is None or not self._rows:
            return succeed(None)
        rows, self._rows = self._rows, {}
        self._flushed()

        def take_back(_: Failure) -> None:
            for key, totals in rows.items():
                self.row(key).add(totals)
            self.write_soon()

        return self._file.run(self._table.add(rows.items())).addErrback(take_back)

    def read(self, first_day: str, last_day: str, first: str | None = None) -> Deferred[list[Row]]:
        """Return the rows of these days, both included, in order; only those of the name `first` if given.

        Fails if the file does.
        """
        if self._file is None:
            rows = [row for row in self._rows.items() if first_day <= row[0][0] <= last_day]
            return succeed(
                sorted([row for row in rows if first in (None, row[0][1])], key=lambda row: row[0])
            )
        self._flush()  # runs before the work that is queued next
        return self._file.run(self._table.read(first_day, last_day, first))

    def stop(self) -> Deferred[Any]:
        """Write what is not written yet. Every publisher that is replaced calls it, and counting continues."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._flush()
