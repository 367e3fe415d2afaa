"""Hands the exchanges that end to the live view."""

from __future__ import annotations

from twisted.logger import LogEvent

from ...exchange.record import Exchange
from .table import Line, LiveTable


class LiveObserver:
    """Stands last among the observers: what it hands over is freed of what only the others needed.

    With `line`, what makes its line of the exchange log, and a limit for each
    body, whole exchanges are kept too.
    """

    def __init__(self, table: LiveTable, line: Line | None = None, body_limit_bytes: int = 0) -> None:
        self._table = table
        self._fresh: list[Exchange] = []
        self._line = line
        self.needs_bodies = line is not None
        self.body_limit_bytes = body_limit_bytes

    def __call__(self, event: LogEvent) -> None:
        self._fresh.append(event["exchange"])

    def flush(self) -> None:
        fresh, self._fresh = self._fresh, []
        if self._line is not None:
            for each in fresh:
                if each.capture is not None:  # it began after a reload that asked for bodies
                    self._table.capture(each.id, self._line(each))
        self._table.keep(fresh)
