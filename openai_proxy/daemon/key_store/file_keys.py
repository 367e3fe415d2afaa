"""Keys in a SQLite file, shared by all processes of one machine that use it."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from twisted.internet.defer import Deferred

from ...cost.state_file import StateFile, open_database
from .store import MOST_KEYS, Snapshot, StoreFull

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (name TEXT NOT NULL PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS key_uses (name TEXT NOT NULL PRIMARY KEY, minute INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revision (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), value TEXT NOT NULL)
"""
_NO_REVISION = "empty"
_USED = """
INSERT INTO key_uses (name, minute) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET minute = max(minute, excluded.minute)
"""


def open_keys(path: Path) -> sqlite3.Connection:
    """Open the file, and create it (mode 600) if it is missing; raise OSError with one line if that fails.

    A change is on disk before it is confirmed, because a revoked key must not
    come back after a power failure.
    """
    return open_database(path, _SCHEMA, synchronous="FULL")


def read_keys(connection: sqlite3.Connection, last_revision: str | None = None) -> Snapshot | None:
    """Return all records, or None if the revision is still `last_revision`."""
    row = connection.execute("SELECT value FROM revision").fetchone()
    revision = _NO_REVISION if row is None else row[0]
    if revision == last_revision:
        return None
    return Snapshot(revision, dict(connection.execute("SELECT name, record FROM keys")))


def read_uses(connection: sqlite3.Connection) -> dict[str, int]:
    """Return when each key was last used, in minutes since the epoch."""
    return dict(connection.execute("SELECT name, minute FROM key_uses"))


def put_key(connection: sqlite3.Connection, name: str, old: bytes | None, new: bytes | None) -> bool:
    """Replace a record by another; see `RecordStore.put`. Runs within a transaction."""
    row = connection.execute("SELECT record FROM keys WHERE name = ?", (name,)).fetchone()
    if (None if row is None else row[0]) != old:
        return False
    if old is None or new is None:
        # also before a creation: an exchange that ended after its key was deleted may have left one
        connection.execute("DELETE FROM key_uses WHERE name = ?", (name,))
    if new is None:
        connection.execute("DELETE FROM keys WHERE name = ?", (name,))
    else:
        (count,) = connection.execute("SELECT count(*) FROM keys").fetchone()
        if old is None and count >= MOST_KEYS:
            raise StoreFull
        connection.execute("INSERT OR REPLACE INTO keys (name, record) VALUES (?, ?)", (name, new))
    connection.execute(
        "INSERT OR REPLACE INTO revision (only_row, value) VALUES (1, ?)", (secrets.token_hex(8),)
    )
    return True


class FileKeys:
    """A `RecordStore` in a file, which its maker opens and closes."""

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def read_now(self) -> Snapshot | None:
        """Return everything, before the reactor runs; raises what SQLite raises."""
        return self._file.run_now(read_keys)

    def read(self, last_revision: str | None) -> Deferred[Snapshot | None]:
        return self._file.run(lambda connection: read_keys(connection, last_revision))

    def put(self, name: str, old: bytes | None, new: bytes | None) -> Deferred[bool]:
        return self._file.run(lambda connection: put_key(connection, name, old, new))

    def note_uses(self, uses: Mapping[str, int]) -> Deferred[object]:
        rows = list(uses.items())
        return self._file.run(lambda connection: connection.executemany(_USED, rows).rowcount)

    def uses(self) -> Deferred[dict[str, int]]:
        return self._file.run(read_uses)
