"""Budgets in the SQLite file, shared by all processes that use it."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from ..core.budget import Account, Need, Standing, admit_in_turn
from .ledger import LEASE_S, Judgement
from .state_file import StateFile

KEPT_S = 400 * 86400.0
"""Of what was spent longer ago, nothing is kept."""

_OTHERS = """
SELECT TOTAL(spent_usd), TOTAL(CASE WHEN held_until > :now THEN held_usd ELSE 0 END)
FROM spending WHERE key = :key AND period = :period AND owner <> :owner
"""
_WRITE = """
INSERT INTO spending (key, period, owner, spent_usd, held_usd, held_until)
VALUES (:key, :period, :owner, :spent_usd, :held_usd, :held_until)
ON CONFLICT (key, period, owner) DO UPDATE SET spent_usd = :spent_usd, held_usd = :held_usd, held_until = :held_until
"""
_FORGET = "DELETE FROM spending WHERE held_until < ?"


class FileKeeper:
    """A `Keeper`: one row for each account and process, the process's own sums in it.

    Reading the others' and writing ours is one transaction that no other
    process can come between. `wall_clock` gives seconds since the epoch.
    """

    def __init__(self, file: StateFile, wall_clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._wall_clock = wall_clock
        self._owner = ""

    def start(self) -> None:
        """Take a name, after the fork: each run of a process is an owner of its own."""
        self._owner = secrets.token_hex(8)
        now = self._wall_clock()
        self._file.run(lambda connection: connection.execute(_FORGET, (now - KEPT_S,))).addErrback(
            lambda _: None
        )

    def judge(self, account: Account, own: Standing, needs: Sequence[Need]) -> Deferred[Judgement]:
        return self._file.run(lambda connection: self._judge(connection, account, own, needs))

    def _judge(
        self, connection: sqlite3.Connection, account: Account, own: Standing, needs: Sequence[Need]
    ) -> Judgement:
        now = self._wall_clock()
        place = {"key": account.key, "period": account.period, "owner": self._owner}
        others = Standing(*connection.execute(_OTHERS, {**place, "now": now}).fetchone())
        grants = admit_in_turn(own.plus(others), needs)
        held_usd = own.held_usd + sum(granted or 0.0 for granted in grants)
        if own.spent_usd or own.held_usd or held_usd:
            ours = {"spent_usd": own.spent_usd, "held_usd": held_usd, "held_until": now + LEASE_S}
            connection.execute(_WRITE, {**place, **ours})
        return grants, others
