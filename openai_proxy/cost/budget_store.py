"""The interface of a budget store that processes share, and the one that keeps budgets in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

from .budget import Account, Balance, Need, PendingCall, admit_in_turn

PENDING_S = 40 * 86400.0
"""The longest time that money stays reserved for a call whose usage nobody reads: more than any period."""
LEASE_S = 60.0
"""After this time, what a crashed process had reserved is free again."""

Judgement = tuple[list["float | None"], Balance]
"""The amount granted to each need (None if refused), and the balance of the other processes."""


class BudgetStore(Protocol):
    """Keeps the balance of every process in every account."""

    def judge(self, account: Account, own: Balance, needs: Sequence[Need]) -> Deferred[Judgement]:
        """Store this process's balance, decide `needs` in turn, and add what they were granted, in one step.

        May fail with any exception; whatever it stored then is replaced when
        `own` is stored again.
        """
        ...

    def hold(self, call: PendingCall) -> Deferred[Any]:
        """Reserve money under the name of a call, for PENDING_S at most."""
        ...

    def find(self, name: str) -> Deferred[PendingCall | None]:
        """Return the call for which money is reserved under `name`."""
        ...

    def take(self, call: PendingCall, cost_usd: float) -> Deferred[bool]:
        """Remove a call and add its cost to what this process spent, in one step; False if it was not there."""
        ...

    def is_first(self, account: Account, name: str) -> Deferred[bool]:
        """Remember `name`; return True the first time that any process passes it."""
        ...


class MemoryBudgets:
    """A store for one process, which loses everything when the process ends."""

    def __init__(self) -> None:
        self._pending: dict[str, PendingCall] = {}
        self._announced: set[str] = set()

    def judge(self, account: Account, own: Balance, needs: Sequence[Need]) -> Deferred[Judgement]:
        held_usd = sum(call.usd for call in self._pending.values() if call.account == account)
        others = Balance(0.0, held_usd)
        return succeed((admit_in_turn(own.plus(others), needs), others))

    def hold(self, call: PendingCall) -> Deferred[Any]:
        self._pending[call.name] = call
        return succeed(None)

    def find(self, name: str) -> Deferred[PendingCall | None]:
        return succeed(self._pending.get(name))

    def take(self, call: PendingCall, cost_usd: float) -> Deferred[bool]:
        return succeed(self._pending.pop(call.name, None) is not None)

    def is_first(self, account: Account, name: str) -> Deferred[bool]:
        first = name not in self._announced
        self._announced.add(name)
        return succeed(first)
