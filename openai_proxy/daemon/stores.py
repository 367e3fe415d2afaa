"""The stores that outlive a reload: limits, budgets, answers, Redis connections.

Owned by `Serving`; building a configuration requests the stores that it names.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from twisted.internet.defer import Deferred, DeferredList

from ..cost.batch_inputs import BatchInputs, FileInputs, MemoryInputs, RedisInputs
from ..cost.ledger import SharedLedger
from ..cost.object_owners import FileOwners, RedisOwners
from ..cost.pending_calls import FileCalls, MemoryCalls
from ..cost.state_file import StateFile
from ..cost.stores import CostStores
from ..cost.webhook import Deliveries
from ..net.redis_client import RedisClient
from ..net.redis_url import parse_redis_url
from ..policies.cache.memory import MemoryStore
from ..policies.cache.redis import RedisStore as RedisCacheStore
from ..policies.cache.store import CacheStore
from ..policies.limits.embedded import EmbeddedStore
from ..policies.limits.redis import RedisStore as RedisLimitStore
from ..policies.limits.store import BucketStore, LimitStore
from ..policies.routing.redis_state import RedisState
from ..policies.routing.state_homes import SharedState, StateHomes, StateMemory


class Stores:
    """Makes each store once for each path or account of Redis, whose password may change.

    `buckets` are the limits of this machine, `memory` makes the embedded cache
    from its number of bytes; without them both are kept in this process.
    `shared_state` finds the upstreams of conversations that this process has
    not recorded. Stores made between `start` and `stop` are started as well.
    """

    def __init__(
        self,
        reactor: Any,
        clock: Callable[[], float],
        buckets: BucketStore | None = None,
        memory: Callable[[int], CacheStore] | None = None,
        shared_state: SharedState | None = None,
    ) -> None:
        self._reactor = reactor
        self._buckets = EmbeddedStore(clock) if buckets is None else buckets
        self._state = StateMemory(clock)
        self._shared_state = [] if shared_state is None else [shared_state]
        self._clients: dict[str, RedisClient] = {}
        self._limits: dict[str, RedisLimitStore] = {}
        self._caches: dict[str, RedisCacheStore] = {}
        self._make_memory = memory or (lambda max_bytes: MemoryStore(max_bytes, clock))
        self._memories: WeakValueDictionary[int, CacheStore] = WeakValueDictionary()
        """Caches by size, as long as a configuration uses them: a reload with another size frees the memory."""
        self._inputs = MemoryInputs()
        self._started = False
        self.costs = CostStores(reactor)
        """Money and totals."""

    def limit_store(self, url: str | None) -> LimitStore:
        """Return the store of limits at a Redis URL, or the embedded one."""
        if url is None:
            return self._buckets
        client, account = self._client(url), _account(url)
        store = self._limits.get(account)
        if store is None:
            store = self._limits[account] = RedisLimitStore(client, self._buckets, self._reactor)
            if self._started:
                store.start()
        return store

    def cache_store(self, url: str, max_bytes: int) -> CacheStore:
        """Return the cache at `memory:` (bounded by `max_bytes`) or at a Redis URL."""
        if url == "memory:":
            memory = self._memories.get(max_bytes)
            if memory is None:
                memory = self._memories[max_bytes] = self._make_memory(max_bytes)
            return memory
        client, account = self._client(url), _account(url)
        store = self._caches.get(account)
        if store is None:
            store = self._caches[account] = RedisCacheStore(client, self._reactor)
            if self._started:
                store.start()
        return store

    def state_homes(self, entries: int, ttl_s: float, url: str | None) -> StateHomes:
        """Return the directory of conversations: of this process, this machine, and the Redis at `url`."""
        self._state.resize(entries, ttl_s)
        shared = [*self._shared_state, *([] if url is None else [RedisState(self._client(url))])]
        return StateHomes(self._state, shared)

    def state_file(self, path: Path) -> StateFile:
        """Return the file of money and totals; raise OSError if this has been started and it cannot be opened."""
        return self.costs.file(path)

    def ledger(self, path: Path | None, redis_url: str | None) -> SharedLedger:
        """Return the ledger of budgets: in Redis, else in a file, else in memory."""
        return self.costs.ledger(path, redis_url, self._client)

    def pending_calls(self, path: Path | None) -> FileCalls | MemoryCalls:
        """Return the store of background calls whose usage has not been read: in a file, else in memory."""
        return self.costs.pending_calls(path)

    def object_owners(self, path: Path | None, redis_url: str | None) -> FileOwners | RedisOwners | None:
        """Return the store of the owners of objects: in Redis, else in a file; None without either."""
        if redis_url is not None:
            return RedisOwners(self._client(redis_url))
        return None if path is None else FileOwners(self.costs.file(path), time.time)

    def batch_inputs(self, path: Path | None, redis_url: str | None) -> BatchInputs:
        """Return the store of what batches' input files ask for: in Redis, else in a file, else in memory."""
        if redis_url is not None:
            return RedisInputs(self._client(redis_url))
        return self._inputs if path is None else FileInputs(self.costs.file(path), time.time)

    @property
    def deliveries(self) -> Deliveries:
        """The deliveries of alerts."""
        return self.costs.deliveries

    def _client(self, url: str) -> RedisClient:
        """Return the client of a Redis server; the password in the URL is the one that it uses from now on."""
        address = parse_redis_url(url)
        client = self._clients.get(address.account)
        if client is None:
            client = self._clients[address.account] = RedisClient(self._reactor, address)
            if self._started:
                client.start()
        client.log_in_with(address)
        return client

    def redis_connected(self, url: str | None) -> bool | None:
        """Return whether the Redis at `url` is connected; None if none is configured."""
        client = self._clients.get(_account(url)) if url is not None else None
        return None if client is None else client.connected

    def failures(self) -> dict[tuple[str, str], int]:
        """Return the failures of each store in Redis, by (`cache` or `limit`, kind)."""
        counts = {}
        if self._caches:
            counts["cache", "unanswered"] = sum(cache.failed for cache in self._caches.values())
            counts["cache", "rejected"] = sum(cache.rejected for cache in self._caches.values())
        if self._limits:
            counts["limit", "unanswered"] = sum(limits.failed for limits in self._limits.values())
        return counts

    def start(self) -> None:
        """Open the file of money and totals (raise OSError if that fails); begin to connect, without waiting."""
        self.costs.start()
        self._started = True
        for part in (*self._clients.values(), *self._users()):
            part.start()

    def stop(self) -> Deferred[Any]:
        """Write what is not written yet, then close every connection."""
        self._started = False
        return self.costs.stop().addCallback(lambda _: self._disconnect())

    def _disconnect(self) -> Deferred[Any]:
        for user in self._users():
            user.stop()
        return DeferredList([client.stop() for client in self._clients.values()], consumeErrors=True)

    def _users(self) -> list[RedisLimitStore | RedisCacheStore]:
        """Return the stores in Redis."""
        return [*self._limits.values(), *self._caches.values()]


def _account(url: str) -> str:
    """Return what tells stores in Redis apart."""
    return parse_redis_url(url).account
