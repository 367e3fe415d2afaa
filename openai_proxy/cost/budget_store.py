"""What a store of budgets does, for several processes, and the one that keeps them in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

from .budget import Account, Balance, Need, PendingCall, admit_in_turn

PENDING_S = 40 * 86400.0
"""How long money stays set aside for a call whose usage nobody asks for: longer than any period lasts."""
LEASE_S = 60.0
"""After this time, what a process that died had reserved is free again."""

Judgement = tuple[list["float | None"], Balance]
"""What each need was granted, and how the other processes stand."""


class BudgetStore(Protocol):
    """Holds the balance of every process in every account."""

    def judge(self, account: Account, own: Balance, needs: Sequence[Need]) -> Deferred[Judgement]:
        """Write how this process stands, judge `needs` in turn, add what they were granted: as one step.

        May fail with anything; what was written before counts no more
        once `own` is written again.
        """
        ...

    def hold(self, call: PendingCall) -> Deferred[Any]:
        """Set money aside under the name of a call, for as long as PENDING_S."""
        ...

    def find(self, name: str) -> Deferred[PendingCall | None]:
        """Return the call whose money is set aside under `name`."""
        ...

    def take(self, call: PendingCall, cost_usd: float) -> Deferred[bool]:
        """Forget a call and add its cost to what this process spent, as one step; False if it was not there."""
        ...

    def is_first(self, account: Account, name: str) -> Deferred[bool]:
        """Remember `name`; True the first time that any process says it."""
        ...


class MemoryBudgets:
    """A store for one process, which forgets at its end."""

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
