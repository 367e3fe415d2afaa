"""The parts of the costs that outlive a reload: files, ledgers, totals.

Owned by `stores`, started and stopped with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from ..logs import logger
from ..net.redis_client import RedisClient
from ..net.redis_url import parse_redis_url
from .budget import owner_words
from .budget_store import MemoryBudgets
from .budget_words import dollars
from .file_budgets import FileBudgets
from .ledger import SharedLedger
from .pending_calls import FileCalls, MemoryCalls
from .redis_budgets import RedisBudgets
from .state_file import StateFile, check_header
from .tag_totals import TagTotals
from .totals import UsageTotals
from .webhook import Deliveries

log = logger("openai_proxy.cost")

_MOST_NAMED = 20


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
        """Return the file at `path`; raise OSError or ValueError if it is found that the file cannot be opened."""
        file = self._files.get(path)
        if file is None:
            file = StateFile(path, self._reactor)
            if self._started:
                file.start()
            else:
                check_header(path)
            self._files[path] = file
        return file

    def ledger(
        self, path: Path | None, redis_url: str | None, client: Callable[[str], RedisClient]
    ) -> SharedLedger:
        """Return the ledger in Redis if a URL is given, else in a file, else in memory."""
        location = str(path or "")
        if redis_url is not None:
            location = parse_redis_url(redis_url).account  # with a new password it is the same ledger
            client(redis_url)
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
        done.addCallback(lambda _: self._tell_lost())
        return done.addCallback(
            lambda _: DeferredList([file.stop() for file in self._files.values()], consumeErrors=True)
        )

    def _tell_lost(self) -> None:
        """Log what could not be written before the end, so that somebody can add it by hand."""
        lost = [each for ledger in self._ledgers.values() for each in ledger.unwritten().items()]
        for account, usd in lost[:_MOST_NAMED]:
            log.error(
                "{usd} that {owner} spent in {period} could not be written, and may be missing in the budget",
                usd=dollars(usd),
                owner=owner_words(account.key),
                period=account.period,
            )
        if len(lost) > _MOST_NAMED:
            log.error("so will what {count} others spent", count=len(lost) - _MOST_NAMED)
        if self.usage.unwritten:
            log.error(
                "{count} requests could not be written, and may be missing in the usage report",
                count=self.usage.unwritten,
            )
