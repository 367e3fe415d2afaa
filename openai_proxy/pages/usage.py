"""The answers of `/admin/usage`."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from datetime import date

import orjson
from twisted.internet.defer import Deferred

from ..cost.budget import day_name
from ..cost.build import Spending
from ..cost.report import BudgetBalance, usage_csv, usage_document
from ..cost.state_file import StateFileClosed
from ..cost.tag_totals import TagTotals
from ..cost.totals import UsageTotals
from ..exchange.errors import Unavailable
from ..exchange.page_errors import InvalidValue
from .admin import Answer, Arguments

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FORMATS = ("json", "csv")


class TotalsUnavailable(Unavailable):
    """The totals cannot be read, for the reason in the log."""

    code = "totals_unavailable"
    default_message = "The file of the totals cannot be read now."


class UsageReport:
    """Reports the current totals and budgets.

    `spending` returns the part of the present configuration. `wall_clock` gives
    seconds since the epoch.
    """

    def __init__(
        self,
        totals: UsageTotals,
        spending: Callable[[], Spending],
        wall_clock: Callable[[], float] = time.time,
        tags: TagTotals | None = None,
    ) -> None:
        self._totals = totals
        self._tags = tags
        self._spending = spending
        self._wall_clock = wall_clock
        self._since = day_name(wall_clock())

    def answer(self, arguments: Arguments) -> Deferred[Answer]:
        """Return the document that the query asks for: `format`, `from` and `to` (UTC days, included).

        Raises InvalidValue for impossible values; fails with TotalsUnavailable
        if the file does.
        """
        wanted = arguments.get("format") or _format_of(arguments.get("accept", ""))
        if wanted not in _FORMATS:
            raise InvalidValue("format must be json or csv.", param="format")
        days = [_day(arguments, "from", "0000-01-01"), _day(arguments, "to", "9999-12-31")]
        return Deferred.fromCoroutine(self._answer(wanted, days))

    async def _answer(self, wanted: str, days: list[str]) -> Answer:
        try:
            rows = await self._totals.read(*days)
            tags = [] if self._tags is None else await self._tags.read(*days)
        except (sqlite3.Error, StateFileClosed) as error:
            raise TotalsUnavailable from error
        if wanted == "csv":
            return "text/csv; charset=utf-8", usage_csv(rows).encode()
        since = None if self._totals.kept else self._since
        return "application/json", orjson.dumps(
            usage_document(rows, await self._budgets(), since, tags)
        ) + b"\n"

    async def _budgets(self) -> list[BudgetBalance]:
        spending, now = self._spending(), self._wall_clock()
        found = []
        if spending.ledger is not None:
            for key, budget in spending.accounts().items():
                account = budget.account(key, now)
                found.append(BudgetBalance(budget, account, await spending.ledger.balance(account)))
        return found


def _format_of(accept: str) -> str:
    return "csv" if "text/csv" in accept and "json" not in accept else "json"


def _day(arguments: Arguments, name: str, default: str) -> str:
    day = arguments.get(name)
    if day is None:
        return default
    if not (_DAY.fullmatch(day) and _is_date(day)):
        raise InvalidValue(f"{name} must be a day such as 2026-11-21.", param=name)
    return day


def _is_date(day: str) -> bool:
    try:
        date.fromisoformat(day)
    except ValueError:
        return False
    return True
