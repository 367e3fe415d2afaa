"""Store what was read from the input files of batches: in the state file, in Redis, or in memory.

Entries are by the id that the upstream gave the file, with the owner of the key
that uploaded it. They are kept for 400 days, which is longer than OpenAI keeps
such a file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeAlias

import orjson
from twisted.internet.defer import Deferred, succeed

from ..net.redis_client import RedisClient
from ..policies.batches.input import BatchInput, dump_input, load_input
from .state_file import StateFile

KEPT_S = 400 * 86400
_SWEEP = 100
"""The number of expired entries that are removed with each new one."""
_MOST_IN_MEMORY = 10_000

Owned: TypeAlias = "tuple[str, BatchInput]"
"""The owner, and what was read from the file."""


class FileInputs:
    """The store in the table `batch_inputs` of the state file."""

    def __init__(self, file: StateFile, wall_clock: Callable[[], float]) -> None:
        self._file = file
        self._wall_clock = wall_clock

    def find(self, name: str) -> Deferred[Owned | None]:
        """Return what was read from a file, None if nothing is stored. Fails if the state file does."""
        now = self._wall_clock()

        def work(connection: sqlite3.Connection) -> Owned | None:
            ask = "SELECT owner, input FROM batch_inputs WHERE id = ? AND until > ?"
            row = connection.execute(ask, (name, now)).fetchone()
            return None if row is None else (row[0], load_input(row[1]))

        return self._file.run(work)

    def keep(self, name: str, owner: str, contents: BatchInput) -> Deferred[Any]:
        """Store what was read from a file; it is on disk when the Deferred fires."""
        now = self._wall_clock()
        row = (name, owner, dump_input(contents), now + KEPT_S)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM batch_inputs WHERE id IN (SELECT id FROM batch_inputs WHERE until < ? LIMIT ?)",
                (now, _SWEEP),
            )
            connection.execute("INSERT OR REPLACE INTO batch_inputs VALUES (?, ?, ?, ?)", row)

        return self._file.run(work)


class RedisInputs:
    """The store in Redis: one key for each file."""

    def __init__(self, client: RedisClient, prefix: str = "openai-proxy:batch-input:") -> None:
        self._client = client
        self._prefix = prefix

    def find(self, name: str) -> Deferred[Owned | None]:
        """Return what was read from a file, None if nothing is stored. Fails if Redis does."""
        asked: Deferred[Any] = self._client.call("GET", self._prefix + name)
        return asked.addCallback(_owned)

    def keep(self, name: str, owner: str, contents: BatchInput) -> Deferred[Any]:
        """Store what was read from a file."""
        value = orjson.dumps([owner, dump_input(contents).decode()])
        return self._client.call("SET", self._prefix + name, value, "EX", KEPT_S)


def _owned(value: bytes | None) -> Owned | None:
    if value is None:
        return None
    owner, contents = orjson.loads(value)
    return owner, load_input(contents)


class MemoryInputs:
    """The store in the memory of this process; the oldest entries are dropped."""

    def __init__(self) -> None:
        self._entries: dict[str, Owned] = {}

    def find(self, name: str) -> Deferred[Owned | None]:
        """Return what was read from a file, None if nothing is stored."""
        return succeed(self._entries.get(name))

    def keep(self, name: str, owner: str, contents: BatchInput) -> Deferred[Any]:
        """Store what was read from a file."""
        if len(self._entries) >= _MOST_IN_MEMORY:
            del self._entries[next(iter(self._entries))]
        self._entries[name] = (owner, contents)
        return succeed(None)


BatchInputs: TypeAlias = "FileInputs | RedisInputs | MemoryInputs"
