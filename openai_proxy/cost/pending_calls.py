"""Store background calls whose usage has not been read yet: in the state file, else in memory."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from .budget_store import PENDING_S
from .later_usage import KeptCall
from .state_file import StateFile

MOST_CALLS = 10_000
"""The most calls that are kept; the oldest are dropped."""

_KEEP = "INSERT OR REPLACE INTO calls (name, model, has_budget, until) VALUES (?, ?, ?, ?)"
_FIND = "SELECT model, has_budget FROM calls WHERE name = ? AND until > ?"
_FORGET_OLDEST = """
DELETE FROM calls WHERE name IN (
    SELECT name FROM calls ORDER BY until ASC LIMIT max(0, (SELECT count(*) FROM calls) - ?)
)
"""


class MemoryCalls:
    """The store in the memory of one process."""

    def __init__(self) -> None:
        self._calls: dict[str, KeptCall] = {}

    def keep(self, name: str, call: KeptCall) -> None:
        self._calls.pop(name, None)
        if len(self._calls) >= MOST_CALLS:
            del self._calls[next(iter(self._calls))]
        self._calls[name] = call

    def find(self, name: str) -> Deferred[KeptCall | None]:
        return succeed(self._calls.get(name))

    def forget(self, name: str) -> None:
        self._calls.pop(name, None)

    def pop(self, name: str) -> KeptCall | None:
        return self._calls.pop(name, None)

    def take(self, name: str) -> Deferred[bool]:
        return succeed(self.pop(name) is not None)


class FileCalls:
    """The store in the table `calls` of the state file, for all processes that use it and across restarts.

    While the file fails, this process keeps its own calls in memory.
    """

    def __init__(self, file: StateFile, wall_clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._wall_clock = wall_clock
        self._unwritten = MemoryCalls()

    def keep(self, name: str, call: KeptCall) -> None:
        row = (name, call.model, call.has_budget, self._wall_clock() + PENDING_S)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_KEEP, row)
            connection.execute(_FORGET_OLDEST, (MOST_CALLS,))

        # The file has logged its failure already.
        self._file.run(work).addErrback(lambda _: self._unwritten.keep(name, call))

    def find(self, name: str) -> Deferred[KeptCall | None]:
        now = self._wall_clock()

        def work(connection: sqlite3.Connection) -> KeptCall | None:
            row = connection.execute(_FIND, (name, now)).fetchone()
            return None if row is None else KeptCall(row[0], bool(row[1]))

        def found(call: KeptCall | Failure | None) -> Any:
            return call if isinstance(call, KeptCall) else self._unwritten.find(name)

        return self._file.run(work).addBoth(found)

    def forget(self, name: str) -> None:
        self._unwritten.forget(name)
        self._file.run(
            lambda connection: connection.execute("DELETE FROM calls WHERE name = ?", (name,))
        ).addErrback(lambda _: None)

    def take(self, name: str) -> Deferred[bool]:
        """Remove a call; fires with whether this process, of all that share the file, was the one that did.

        If it is cancelled, the call is kept for the next request.
        """
        waiting: Deferred[bool] = Deferred()

        def work(connection: sqlite3.Connection) -> KeptCall | None:
            row = connection.execute("SELECT model, has_budget FROM calls WHERE name = ?", (name,)).fetchone()
            gone = connection.execute("DELETE FROM calls WHERE name = ?", (name,)).rowcount > 0
            return KeptCall(row[0], bool(row[1])) if gone and row is not None else None

        def taken(done: KeptCall | Failure | None) -> None:
            call = done if isinstance(done, KeptCall) else self._unwritten.pop(name)
            if not waiting.called:
                waiting.callback(call is not None)
            elif call is not None:
                self.keep(name, call)

        self._file.run(work).addBoth(taken)
        return waiting
