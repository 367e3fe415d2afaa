"""The parts of the costs that outlive a reload: files, ledgers, totals.

Owned by `stores`, started and stopped with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from ..net.redis_client import RedisClient
from .budget_store import MemoryBudgets
from .file_budgets import FileBudgets
from .ledger import SharedLedger
from .pending_calls import FileCalls, MemoryCalls
from .redis_budgets import RedisBudgets
from .state_file import StateFile
from .tag_totals import TagTotals
from .totals import UsageTotals
from .webhook import Deliveries


class CostStores:
    """Makes one file object and one ledger for each path or URL.

    What is made between `start` and `stop` is started as well.
    """

    def __init__(self, reactor: Any, wall_clock: Callable[[], float] = time.time) -> None:
        self._reactor = reactor
        self._wall_clock = wall_clock
        self.usage = UsageTotals(reactor)
        self.tag_usage = TagTotals(reactor)
        self.deliveries = Deliveries(reactor, wall_clock)
        """Deliveries of alerts."""
        self._files: dict[Path, StateFile] = {}
        self._ledgers: dict[str, SharedLedger] = {}
        self._calls: dict[Path | None, FileCalls | MemoryCalls] = {}
        self._owners: list[FileBudgets | RedisBudgets] = []
        self._started = False

    def file(self, path: Path) -> StateFile:
        """Return the file at `path`; raise OSError if this has been started and the file cannot be opened."""
        file = self._files.get(path)
        if file is None:
            file = StateFile(path, self._reactor)
            if self._started:
                file.start()
            self._files[path] = file
        return file

    def ledger(
        self, path: Path | None, redis_url: str | None, client: Callable[[str], RedisClient]
    ) -> SharedLedger:
        """Return the ledger in Redis if a URL is given, else in a file, else in memory."""
        location = redis_url or str(path or "")
        ledger = self._ledgers.get(location)
        if ledger is None:
            store: MemoryBudgets | FileBudgets | RedisBudgets = MemoryBudgets()
            if redis_url is not None:
                store = RedisBudgets(client(redis_url))
            elif path is not None:
                store = FileBudgets(self.file(path), self._wall_clock)
            ledger = self._ledgers[location] = SharedLedger(store, self._reactor, self._wall_clock)
            if not isinstance(store, MemoryBudgets):
                self._owners.append(store)
                if self._started:
                    store.start()
            if self._started:
                ledger.start()
        return ledger

    def pending_calls(self, path: Path | None) -> FileCalls | MemoryCalls:
        """Return the store of background calls: in a file, else in memory."""
        calls = self._calls.get(path)
        if calls is None:
            calls = MemoryCalls() if path is None else FileCalls(self.file(path), self._wall_clock)
            self._calls[path] = calls
        return calls

    def start(self) -> None:
        """Open the files; raise OSError, naming the file, if one cannot be opened."""
        self._started = True
        for part in (*self._files.values(), *self._owners, *self._ledgers.values()):
            part.start()

    def stop(self) -> Deferred[Any]:
        """Write what is not written yet, then close the files."""
        self._started = False
        written = [ledger.stop() for ledger in self._ledgers.values()]
        done: Deferred[Any] = DeferredList(
            [*written, self.usage.stop(), self.tag_usage.stop(), self.deliveries.stop()], consumeErrors=True
        )
        return done.addCallback(
            lambda _: DeferredList([file.stop() for file in self._files.values()], consumeErrors=True)
        )
