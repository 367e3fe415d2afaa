"""The SQLite file that keeps money and totals over restarts.

Several processes may use it at once. Everything runs in a thread of its
own, one piece of work after the other, each in one transaction.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

VERSION = 1
OPEN_WITHIN_S = 5.0
BUSY_S = 0.2
"""So long a piece of work waits for another process; then it fails."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spending (
    key TEXT NOT NULL, period TEXT NOT NULL, owner TEXT NOT NULL,
    spent_usd REAL NOT NULL, held_usd REAL NOT NULL, held_until REAL NOT NULL,
    PRIMARY KEY (key, period, owner)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS usage (
    day TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
    requests INTEGER NOT NULL, cached_requests INTEGER NOT NULL, unpriced_requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    PRIMARY KEY (day, key, model)
) WITHOUT ROWID;
"""


class StateFileClosed(Exception):
    """The file is not open, or not any more."""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file, made where it is missing (mode 600); OSError, in one line, where that can not be.

    The connection may be used by one thread after the other.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(
            path, timeout=OPEN_WITHIN_S, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise OSError(f"{path}: {error}") from error
    try:
        _prepare(connection)
    except (sqlite3.Error, ValueError) as error:
        connection.close()
        raise OSError(f"{path}: {error}") from error
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    end = time.monotonic() + OPEN_WITHIN_S
    while True:
        try:
            # not covered by SQLite's own waiting while another process does the same
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)
    # a process that dies loses nothing that was committed; a machine may lose the last moments
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise ValueError(f"is of a newer version of this program (format {version})")
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")
    connection.execute(f"PRAGMA busy_timeout={int(BUSY_S * 1000)}")


class StateFile:
    """Runs work on the file, off the reactor's thread.

    States: built, open (`start`), closed (`stop`). Failures are told to the
    log once until something works again; the work's Deferred fails each time.
    """

    def __init__(self, path: Path, reactor: Any, log: Logger | None = None) -> None:
        self.path = path
        self._reactor = reactor
        self._log = log or Logger(namespace="openai_proxy.cost")
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPool | None = None
        self._failing = False

    def start(self) -> None:
        """Open the file; OSError where it can not be. Waits for other processes that open it too."""
        if self._connection is None:
            self._connection = open_database(self.path)
            self._thread = ThreadPool(1, 1, "state-file")
            self._thread.start()

    def run(self, work: Work[T]) -> Deferred[T]:
        """Do `work(connection)` in a transaction, after what was asked for before."""
        connection, thread = self._connection, self._thread
        if connection is None or thread is None:
            return fail(StateFileClosed())
        done: Deferred[T] = deferToThreadPool(self._reactor, thread, _in_transaction, connection, work)
        return done.addCallbacks(self._worked, self._failed)

    def _worked(self, result: T) -> T:
        if self._failing:
            self._failing = False
            self._log.info("{path} is written again", path=str(self.path))
        return result

    def _failed(self, failure: Failure) -> Failure:
        if not self._failing:
            self._failing = True
            self._log.error(
                "can not use {path}: {reason}; budgets and totals are kept in memory, requests go on",
                path=str(self.path),
                reason=str(failure.value),
            )
        return failure

    def stop(self) -> Deferred[Any]:
        """Finish what was asked for and close the file. Idempotent."""
        connection, self._connection = self._connection, None
        thread, self._thread = self._thread, None
        if connection is None or thread is None:
            return succeed(None)
        closed: Deferred[Any] = deferToThreadPool(self._reactor, thread, connection.close)
        return closed.addBoth(lambda _: thread.stop())


def _in_transaction(connection: sqlite3.Connection, work: Work[T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result
