"""The store in Redis, shared by every daemon with the same configuration.

A Redis that is slow, frozen, dead or does not speak RESP counts as a store
without entries: its client fails within the deadline and reconnects by itself.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from .entry import BadEntry, CacheEntry, dump_entry, load_entry

PREFIX = b"openai-proxy:cache:1:"
"""The prefix of every key in Redis; the number is the version of key and value."""

_FORGET_AT_ONCE = 500
"""The largest number of names in one command."""

_T = TypeVar("_T")


def _name(key: bytes) -> bytes:
    return PREFIX + key.hex().encode("ascii")


class RedisCalls(Protocol):
    """The part of the connection to Redis that is used here."""

    def call(self, *args: bytes | str | int | float) -> Deferred[Any]:
        """Send one command; fails soon if Redis cannot be reached."""
        ...


class RedisStore:
    """Entries in Redis, written with their time to live in one command.

    Values of `compress_bytes` and more are compressed; those of `thread_bytes`
    and more are packed and unpacked in a thread, so that the reactor does not
    wait. `rejected` counts values that this proxy did not write, `failed` the
    calls that Redis did not answer.
    """

    def __init__(
        self,
        client: RedisCalls,
        reactor: Any,
        *,
        entry_bytes: int = 8 * 1024 * 1024,
        compress_bytes: int = 1024,
        thread_bytes: int = 256 * 1024,
    ) -> None:
        self.entry_bytes = entry_bytes
        self._client = client
        self._reactor = reactor
        self._compress_bytes = compress_bytes
        self._thread_bytes = thread_bytes
        self._threads = ThreadPool(0, 1, name="cache")
        self.rejected = 0
        self.failed = 0

    def start(self) -> None:
        """Start the thread pool; once, after the fork."""
        self._threads.start()

    def stop(self) -> None:
        """Stop the thread pool; waits for the value in work. Idempotent."""
        if self._threads.started:
            self._threads.stop()

    def peek(self, key: bytes) -> None:
        """Return None, because only a request to Redis shows what it has."""

    async def get(self, key: bytes) -> CacheEntry | None:
        """Return the entry of `key`; None if Redis has none, cannot be reached, or holds something else."""
        try:
            value = await self._client.call("GET", _name(key))
        except CancelledError:
            raise
        except Exception:
            self.failed += 1
            return None
        if value is None:
            return None
        try:
            if not isinstance(value, bytes):
                raise BadEntry
            return await self._convert(len(value), partial(load_entry, key, value, 2 * self.entry_bytes))
        except BadEntry:
            self.rejected += 1
            return None

    async def put(self, key: bytes, entry: CacheEntry, ttl_s: float, family: bytes | None = None) -> None:
        """Write `entry` with its time to live; given up if Redis does not take it."""
        if entry.size_bytes > self.entry_bytes:
            return
        pack = partial(dump_entry, key, entry, self._compress_bytes)
        value = await self._convert(entry.body_bytes, pack)
        name, ttl_ms = _name(key), max(1, int(ttl_s * 1000))
        try:
            if family is not None:
                await self._enlist(_name(family), name, entry.stored_at, ttl_s, ttl_ms)
            await self._client.call("SET", name, value, "PX", ttl_ms)
        except CancelledError:
            raise
        except Exception:
            self.failed += 1

    async def _enlist(self, family: bytes, name: bytes, stored_at: float, ttl_s: float, ttl_ms: int) -> None:
        """Put `name` on the list of its family before it is written, so that every stored name is on a list."""
        await self._client.call("ZADD", family, stored_at, name)
        await self._client.call("ZREMRANGEBYSCORE", family, "-inf", stored_at - ttl_s)
        await self._client.call("PEXPIRE", family, ttl_ms)

    async def forget(self, family: bytes) -> None:
        """Delete the names on the list of `family`; give up if Redis does not answer."""
        try:
            names = await self._client.call("ZRANGE", _name(family), 0, -1)
            for start in range(0, len(names), _FORGET_AT_ONCE):
                await self._client.call("DEL", *names[start : start + _FORGET_AT_ONCE])
        except CancelledError:
            raise
        except Exception:
            self.failed += 1

    async def _convert(self, size_bytes: int, convert: partial[_T]) -> _T:
        if size_bytes < self._thread_bytes or not self._threads.started:
            return convert()
        return await deferToThreadPool(self._reactor, self._threads, convert)
