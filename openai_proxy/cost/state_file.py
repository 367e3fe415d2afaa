"""The SQLite file that keeps money and totals across restarts.

Several processes may use it at once. All work runs in one separate thread, one
piece after the other, each in a transaction.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Literal, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from ..logs import logger

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

VERSION = 1
OPEN_WITHIN_S = 5.0
BUSY_S = 1.0
"""How long work waits for other processes before it fails; each of them needs a millisecond."""
BUSY_WHILE_FAILING_S = 0.05
"""How long it waits after a failure, when another process holds the file for long."""

_COUNTED = """
    requests INTEGER NOT NULL, cached_requests INTEGER NOT NULL, unpriced_requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL
"""
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS spending (
    key TEXT NOT NULL, period TEXT NOT NULL, owner TEXT NOT NULL,
    spent_usd REAL NOT NULL, held_usd REAL NOT NULL, held_until REAL NOT NULL,
    PRIMARY KEY (key, period, owner)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS spending_owner ON spending (owner);
CREATE TABLE IF NOT EXISTS usage (
    day TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
    {_COUNTED},
    PRIMARY KEY (day, key, model)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tag_usage (
    day TEXT NOT NULL, tag TEXT NOT NULL, value TEXT NOT NULL,
    {_COUNTED},
    PRIMARY KEY (day, tag, value)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    id TEXT NOT NULL PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_until ON objects (until);
CREATE TABLE IF NOT EXISTS calls (
    name TEXT NOT NULL PRIMARY KEY, model TEXT, has_budget INTEGER NOT NULL, until REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS calls_until ON calls (until);
CREATE TABLE IF NOT EXISTS batch_inputs (
    id TEXT NOT NULL PRIMARY KEY, owner TEXT NOT NULL, input BLOB NOT NULL, until REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS batch_inputs_until ON batch_inputs (until);
"""


class StateFileClosed(Exception):
    """The file is not open, or has been closed."""


class StateFileMoved(OSError):
    """Another file, or none, is at the path: what is written to the open one would be lost at its end."""


def open_database(
    path: Path, schema: str = _SCHEMA, synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
) -> sqlite3.Connection:
    """Open the file, and create it (mode 600) if it is missing; raise OSError with one line if that fails.

    With `NORMAL`, a process that crashes loses nothing that was committed, but
    a machine may lose the last moments. With `FULL`, neither does. The
    connection may be used by one thread after another.
    """
    try:
        if not path.exists():  # an existing one may be open here: see check_header
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(
            path, timeout=OPEN_WITHIN_S, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise OSError(f"{path}: {error}") from error
    try:
        _prepare(connection, schema, synchronous)
    except (sqlite3.Error, ValueError) as error:
        connection.close()
        raise OSError(f"{path}: {error}") from error
    return connection


def _prepare(connection: sqlite3.Connection, schema: str, synchronous: str) -> None:
    end = time.monotonic() + OPEN_WITHIN_S
    while True:
        try:
            # SQLite does not wait by itself while another process does the same
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    _check_version(version)
    for statement in schema.split(";"):
        connection.execute(statement)
    if version != VERSION:  # else nothing is written, and no process that starts waits for all others
        connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


_HEADER = struct.Struct(">16s44xI")
"""The first bytes of every SQLite file: a text, and the `user_version` (SQLite's file format, §1.3)."""


def check_header(path: Path) -> None:
    """Raise ValueError if the file at `path` is no SQLite file, or of a newer version; change nothing.

    So a check of the configuration reports what `open_database` would refuse,
    also while a daemon uses the file. Not for a process that has the file open:
    closing any descriptor of a file gives up all locks that SQLite has on it,
    and another process may then take away the write-ahead log (POSIX, fcntl;
    SQLite, "How To Corrupt An SQLite Database File", §2.2).
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
    except OSError:
        return  # it is not there yet, or whoever opens it reports the reason
    if not header:
        return
    text, version = _HEADER.unpack(header.ljust(_HEADER.size, b"\0"))
    if text != b"SQLite format 3\0":
        raise ValueError(f"{path}: file is not a database")
    _check_version(version, f"{path}: ")


def _check_version(version: int, path: str = "") -> None:
    if version > VERSION:
        raise ValueError(f"{path}is of a newer version of this program (format {version})")


class StateFile:
    """Runs work on the file, off the reactor's thread.

    States: built, open (`start`), closed (`stop`). Work that is requested while
    the thread is busy is done in one transaction afterwards, so a busy daemon
    needs one change of threads and one transaction for many requests. A failure
    is logged once until something works again; the work's Deferred fails each
    time.
    """

    def __init__(
        self,
        path: Path,
        reactor: Any,
        log: Logger | None = None,
        *,
        opens: Callable[[Path], sqlite3.Connection] = open_database,
        meanwhile: str = "budgets and totals are kept in memory, requests go on",
    ) -> None:
        """`meanwhile` is logged: it says what happens while the file fails."""
        self.path = path
        self._reactor = reactor
        self._log = log or logger("openai_proxy.cost")
        self._open = opens
        self._meanwhile = meanwhile
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        """That of the open file."""
        self._thread: ThreadPool | None = None
        self._waiting: list[tuple[Work[Any], Deferred[Any]]] = []
        self._busy = False
        self._closed: Deferred[None] | None = None
        self._failing = False
        self._changes = 0

    def start(self) -> None:
        """Open the file; raise OSError if that fails. Waits for other processes that open it too."""
        if self._connection is None:
            self._connection = self._open(self.path)
            self._inode = os.stat(self.path).st_ino
            self._thread = thread = ThreadPool(1, 1, "state-file")
            # a process that ends without `stop`, because its start failed later, must not wait for the thread
            thread.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # a class there
            thread.start()

    def run(self, work: Work[T]) -> Deferred[T]:
        """Do `work(connection)` in a transaction, after the work that was requested before.

        It may share its transaction with other work, and is repeated if one of
        them failed: it must change nothing but the database.
        """
        if self._connection is None or self._closed is not None:
            return fail(StateFileClosed())
        done: Deferred[T] = Deferred()
        self._waiting.append((work, done))
        self._next()
        return done

    def run_now(self, work: Work[T]) -> T:
        """Do `work(connection)` in this thread; only before the reactor runs. Raises what the work raises.

        Waits for other processes as long as `start` does, since they may be starting too.
        """
        if self._connection is None or self._busy:
            raise StateFileClosed
        (result,) = do_together(self._connection, [work], OPEN_WITHIN_S)
        if isinstance(result, Failure):
            result.raiseException()
        done: T = result
        return done

    def _next(self) -> None:
        if self._busy:
            return
        if self._waiting:
            self._busy = True
            waiting, self._waiting = self._waiting, []
            works = [work for work, _ in waiting]
            patience_s = BUSY_WHILE_FAILING_S if self._failing else BUSY_S
            self._in_thread(self._do, self._connection, works, patience_s).addCallback(
                self._done, [done for _, done in waiting]
            ).addErrback(lambda failure: self._log.failure("results of the state file went astray", failure))
        elif self._closed is not None and self._connection is not None:
            connection, self._connection = self._connection, None
            self._in_thread(connection.close).addBoth(self._after_closing)

    def _do(self, connection: sqlite3.Connection, works: Sequence[Work[Any]], patience_s: float) -> list[Any]:
        """Do all `works`, unless the file has been removed or replaced; SQLite does not notice that."""
        if self._has_moved():
            moved = StateFileMoved("it was removed or replaced while in use: put it back, or restart")
            return [Failure(moved)] * len(works)
        return do_together(connection, works, patience_s)

    def _has_moved(self) -> bool:
        """Whether another file, or none, is at the path; judged as SQLite judges it (`fileHasMoved`)."""
        try:
            return os.stat(self.path).st_ino != self._inode
        except FileNotFoundError:
            return True
        except OSError:  # its directory cannot be searched now: nothing is known
            return False

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        assert self._thread is not None  # there is one from start to the end of stop
        return deferToThreadPool(self._reactor, self._thread, function, *arguments)

    def _done(self, results: list[Any], waiting: list[Deferred[Any]]) -> None:
        self._busy = False
        changes, self._changes = self._changes, self._connection.total_changes if self._connection else 0
        wrote = changes != self._changes
        for result, done in zip(results, waiting, strict=True):
            if isinstance(result, Failure):
                if result.check(
                    sqlite3.Error, OSError
                ):  # else the work refused something, and the file is fine
                    self._tell(result)
            elif wrote:  # reading also works on a full disk
                self._tell(None)
            if not done.called:
                done.callback(result)  # a Failure goes to the errback
        self._next()

    def _tell(self, failure: Failure | None) -> None:
        """Log a change: from working to failing or back."""
        if self._failing == (failure is not None):
            return
        self._failing = failure is not None
        if failure is None:
            self._log.info("{path} is written again", path=str(self.path))
        else:
            self._log.error(
                "cannot use {path}: {reason}; {meanwhile}",
                path=str(self.path),
                reason=str(failure.value),
                meanwhile=self._meanwhile,
            )

    def stop(self) -> Deferred[Any]:
        """Finish the requested work and close the file. Call once."""
        if self._connection is None:
            return succeed(None)
        closed = self._closed = Deferred()
        self._next()
        return closed

    def _after_closing(self, _: Any) -> None:
        thread, self._thread = self._thread, None
        closed, self._closed = self._closed, None
        if thread is not None:
            thread.stop()
        if closed is not None:
            closed.callback(None)


def do_together(
    connection: sqlite3.Connection, works: Sequence[Work[Any]], patience_s: float = BUSY_S
) -> list[Any]:
    """Do all `works` in one transaction; return their results, Failures among them.

    If one of them fails, it fails by itself, and the others are repeated.
    `patience_s` is how long to wait for other processes.
    """
    try:
        if connection.in_transaction:  # the rollback failed
            connection.execute("ROLLBACK")
        connection.execute(f"PRAGMA busy_timeout={int(patience_s * 1000)}")
        connection.execute("BEGIN IMMEDIATE")
    except Exception:
        return [Failure()] * len(works)
    try:
        results = [work(connection) for work in works]
        connection.execute("COMMIT")
        return results
    except Exception:
        failure = Failure()
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # the next work tries again
                connection.execute("ROLLBACK")
    if len(works) == 1:
        return [failure]
    return [result for work in works for result in do_together(connection, [work], patience_s)]
