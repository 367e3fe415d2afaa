"""A store of budgets in the SQLite file, shared by all processes that use it."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from .budget import Account, Balance, Need, PendingCall, admit_in_turn
from .budget_store import LEASE_S, PENDING_S, Judgement
from .state_file import StateFile

KEPT_S = 400 * 86400.0
"""Older records of spending are deleted."""

_OTHERS = """
SELECT TOTAL(spent_usd), TOTAL(CASE WHEN held_until > :now THEN held_usd ELSE 0 END)
FROM spending WHERE key = :key AND period = :period AND owner <> :owner
"""
_WRITE = """
INSERT INTO spending (key, period, owner, spent_usd, held_usd, held_until)
VALUES (:key, :period, :owner, :spent_usd, :held_usd, :held_until)
ON CONFLICT (key, period, owner) DO UPDATE SET spent_usd = :spent_usd, held_usd = :held_usd, held_until = :held_until
"""
_FREE = "DELETE FROM spending WHERE key = :key AND period = :period AND owner = :owner"
_CALL = "call:"
"""The prefix of an owner that is a pending call instead of a process."""
_ALERTED = "told:"
"""The prefix of an owner that is an alert instead of a process."""
_TELL = """
INSERT INTO spending (key, period, owner, spent_usd, held_usd, held_until)
VALUES (:key, :period, :owner, 0, 0, :now) ON CONFLICT DO NOTHING
"""
_FIND = "SELECT key, period, held_usd FROM spending WHERE owner = ? AND held_until > ?"
_ADD = """
INSERT INTO spending (key, period, owner, spent_usd, held_usd, held_until)
VALUES (:key, :period, :owner, :cost_usd, 0, :now)
ON CONFLICT (key, period, owner) DO UPDATE SET spent_usd = spent_usd + :cost_usd
"""
_FORGET = "DELETE FROM spending WHERE held_until < ?"


class FileBudgets:
    """A `BudgetStore`: one row for each account and process, with the process's own sums.

    Reading the others' sums and writing this process's is one transaction.
    `wall_clock` gives seconds since the epoch.
    """

    def __init__(self, file: StateFile, wall_clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._wall_clock = wall_clock
        self._owner = ""

    def start(self) -> None:
        """Choose a name, after the fork: each run of a process is a separate owner."""
        self._owner = secrets.token_hex(8)
        now = self._wall_clock()
        self._file.run(lambda connection: connection.execute(_FORGET, (now - KEPT_S,))).addErrback(
            lambda _: None
        )

    def judge(self, account: Account, own: Balance, needs: Sequence[Need]) -> Deferred[Judgement]:
        return self._file.run(lambda connection: self._judge(connection, account, own, needs))

    def _judge(
        self, connection: sqlite3.Connection, account: Account, own: Balance, needs: Sequence[Need]
    ) -> Judgement:
        now = self._wall_clock()
        row = {"key": account.key, "period": account.period, "owner": self._owner}
        others = Balance(*connection.execute(_OTHERS, {**row, "now": now}).fetchone())
        grants = admit_in_turn(own.plus(others), needs)
        held_usd = own.held_usd + sum(granted or 0.0 for granted in grants)
        if own.spent_usd or own.held_usd or held_usd:
            ours = {"spent_usd": own.spent_usd, "held_usd": held_usd, "held_until": now + LEASE_S}
            connection.execute(_WRITE, {**row, **ours})
        else:
            connection.execute(_FREE, row)
        return grants, others

    def hold(self, call: PendingCall) -> Deferred[Any]:
        account = call.account
        assert account is not None  # money is reserved only for calls that a budget pays for
        values = {
            "key": account.key,
            "period": account.period,
            "owner": _CALL + call.name,
            "spent_usd": 0.0,
            "held_usd": call.usd,
            "held_until": self._wall_clock() + PENDING_S,
        }
        return self._file.run(lambda connection: connection.execute(_WRITE, values).rowcount)

    def find(self, name: str) -> Deferred[PendingCall | None]:
        return self._file.run(lambda connection: self._find(connection, name))

    def _find(self, connection: sqlite3.Connection, name: str) -> PendingCall | None:
        found = connection.execute(_FIND, (_CALL + name, self._wall_clock())).fetchone()
        return None if found is None else PendingCall(name, Account(found[0], found[1]), found[2])

    def take(self, call: PendingCall, cost_usd: float) -> Deferred[bool]:
        return self._file.run(lambda connection: self._take(connection, call, cost_usd))

    def _take(self, connection: sqlite3.Connection, call: PendingCall, cost_usd: float) -> bool:
        found = self._find(connection, call.name)
        if found is None or found.account is None:
            return False
        connection.execute("DELETE FROM spending WHERE owner = ?", (_CALL + call.name,))
        row = {"key": found.account.key, "period": found.account.period, "owner": self._owner}
        connection.execute(_ADD, {**row, "cost_usd": cost_usd, "now": self._wall_clock()})
        return True

    def is_first(self, account: Account, name: str) -> Deferred[bool]:
        now = self._wall_clock()
        values = {"key": account.key, "period": account.period, "owner": _ALERTED + name, "now": now}
        return self._file.run(lambda connection: connection.execute(_TELL, values).rowcount == 1)
