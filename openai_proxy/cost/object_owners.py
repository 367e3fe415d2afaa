"""Store the owners of stored objects: in the state file, or in Redis for several machines.

The first owner of an id stays its owner until the object is deleted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, succeed

from ..net.redis_client import RedisClient
from ..policies.authorize.object_ids import RESPONSES_KEPT_S
from .state_file import StateFile

_FOREVER_S = 10 * 366 * 86400
_SHORT = ("resp_", "msg_", "rs_", "fc_", "ws_", "ig_", "ci_", "mcp_", "chatcmpl-")
"""Prefixes of the ids of objects that OpenAI deletes by itself."""
_SWEEP = 100
"""The number of expired entries that are removed with each new one."""


def _kept_s(name: str) -> int:
    return RESPONSES_KEPT_S if name.startswith(_SHORT) else _FOREVER_S


class FileOwners:
    """The store in the table `objects` of the state file."""

    def __init__(self, file: StateFile, wall_clock: Callable[[], float]) -> None:
        self._file = file
        self._wall_clock = wall_clock

    def find(self, names: Sequence[str]) -> Deferred[dict[str, str]]:
        """Return the owners of those objects that are stored. Fails if the file does."""
        now = self._wall_clock()

        def work(connection: sqlite3.Connection) -> dict[str, str]:
            ask = "SELECT owner FROM objects WHERE id = ? AND until > ?"
            rows = ((name, connection.execute(ask, (name, now)).fetchone()) for name in names)
            return {name: row[0] for name, row in rows if row is not None}

        return self._file.run(work) if names else succeed({})

    def keep(self, names: Sequence[str], owner: str) -> Deferred[Any]:
        """Store the owner of new objects; it is on disk when the Deferred fires."""
        now = self._wall_clock()
        rows = [(name, owner, now + _kept_s(name)) for name in names]

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM objects WHERE id IN (SELECT id FROM objects WHERE until < ? LIMIT ?)",
                (now, _SWEEP),
            )
            connection.executemany("INSERT OR IGNORE INTO objects (id, owner, until) VALUES (?, ?, ?)", rows)

        return self._file.run(work)

    def forget(self, name: str) -> Deferred[Any]:
        """Forget an object that was deleted."""
        return self._file.run(
            lambda connection: connection.execute("DELETE FROM objects WHERE id = ?", (name,))
        )


class RedisOwners:
    """The store in Redis: one key for each object."""

    def __init__(self, client: RedisClient, prefix: str = "openai-proxy:object:") -> None:
        self._client = client
        self._prefix = prefix

    def find(self, names: Sequence[str]) -> Deferred[dict[str, str]]:
        """Return the owners of those objects that are stored. Fails if Redis does."""
        if not names:
            return succeed({})
        asked: Deferred[Any] = self._client.call("MGET", *(self._prefix + name for name in names))
        return asked.addCallback(
            lambda owners: {
                name: owner.decode() for name, owner in zip(names, owners, strict=True) if owner is not None
            }
        )

    def keep(self, names: Sequence[str], owner: str) -> Deferred[Any]:
        """Store the owner of new objects."""
        calls = [
            self._client.call("SET", self._prefix + name, owner, "NX", "EX", _kept_s(name)) for name in names
        ]
        return DeferredList(calls, fireOnOneErrback=True, consumeErrors=True)

    def forget(self, name: str) -> Deferred[Any]:
        """Forget an object that was deleted."""
        return self._client.call("DEL", self._prefix + name)
