"""The money that client keys have spent: of their budgets, else in this month."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, gatherResults

from ...cost.budget import day_name, period_name
from ...cost.build import Spending
from ...cost.state_file import StateFileClosed
from ...cost.totals import UsageTotals
from ...settings import ClientKey
from .documents import Spent
from .slices import Pause, slices


class SpentByKey:
    """Reads the ledger and the totals; `spending` returns the part of the present configuration.

    `pause` lets other work run between two slices of many keys.
    """

    def __init__(
        self,
        totals: UsageTotals,
        spending: Callable[[], Spending],
        pause: Pause,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._totals = totals
        self._spending = spending
        self._pause = pause
        self._wall_clock = wall_clock

    async def of(self, keys: Sequence[ClientKey]) -> Mapping[str, Spent]:
        """Return what each of `keys` has spent, by name; without those for which it is unknown."""
        spending, now = self._spending(), self._wall_clock()
        found: dict[str, Spent] = {}
        rest = [key.name for key in keys if key.name not in spending.budgets]
        if rest:
            found |= await self._this_month(rest, now)
        if spending.ledger is not None:
            accounts = [
                spending.budgets[key.name].account(key.name, now)
                for key in keys
                if key.name in spending.budgets
            ]
            for some in slices(accounts):
                asked = [Deferred.fromCoroutine(spending.ledger.balance(account)) for account in some]
                balances = await gatherResults(asked, consumeErrors=True)
                for account, balance in zip(some, balances, strict=True):
                    found[account.key] = Spent(account.period, balance.spent_usd)
                await self._pause()
        return found

    async def _this_month(self, names: Sequence[str], now: float) -> dict[str, Spent]:
        month = period_name("month", now)
        try:
            rows = await self._totals.read(f"{month}-01", day_name(now))
        except (sqlite3.Error, StateFileClosed):
            return {}
        sums = dict.fromkeys(names, 0.0)
        for (_, key, _), totals in rows:
            if key in sums:
                sums[key] += totals.cost_usd
        return {name: Spent(month, usd) for name, usd in sums.items()}
