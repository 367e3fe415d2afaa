"""Budgets of client keys: the limit, the money spent, the money reserved.

Amounts are US dollars, times seconds since the epoch, periods UTC days or
months. Each owner (one run of one process) writes what it has spent as a sum
that only grows. So it can write the sum any number of times, and a lost or
doubled write changes nothing. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Literal, Protocol

from attrs import define, frozen

Period = Literal["day", "month"]

_ROUNDING = 1e-9
"""A tolerance relative to the limit: rounding errors in sums must not refuse the last cent."""


@frozen
class Budget:
    """The limit of a key in a period."""

    limit_usd: float
    period: Period = "month"

    def account(self, key: str, timestamp: float) -> Account:
        """Return the account that a request of `key` at that time is charged to."""
        return Account(key, period_name(self.period, timestamp))


@frozen
class Account:
    """One key in one period: `2026-11-21`, or `2026-11` for a month."""

    key: str
    period: str


GROUP = "\x1fgroup:"
"""The prefix of a group's account `key`: it contains a control character, so no key has such a name."""


def group_name(account_key: str) -> str | None:
    """Return the name of the group that an account belongs to; None for one of a key."""
    return account_key[len(GROUP) :] if account_key.startswith(GROUP) else None


def owner_words(account_key: str) -> str:
    """Return the owner of an account as a sentence names it.

    >>> owner_words("alice"), owner_words(GROUP + "team")
    ("'alice'", "the group 'team'")
    """
    group = group_name(account_key)
    return repr(account_key) if group is None else f"the group {group!r}"


@frozen
class Balance:
    """Money that is spent, and money reserved for running requests."""

    spent_usd: float = 0.0
    held_usd: float = 0.0

    def plus(self, other: Balance) -> Balance:
        """Return the sums."""
        return Balance(self.spent_usd + other.spent_usd, self.held_usd + other.held_usd)


@frozen
class Need:
    """One request that wants to reserve `usd` of an account whose limit is `limit_usd`."""

    usd: float
    limit_usd: float


@define(eq=False)
class Reservation:
    """Money reserved for one running request; settle it once."""

    account: Account
    usd: float


@frozen
class PendingCall:
    """A call that continues after its exchange has ended (a background response, a batch): its usage is read
    later.

    `name` is the upstream's name for it. `account` is None if no budget pays
    for it; `usd` is the money reserved.
    """

    name: str
    account: Account | None = None
    usd: float = 0.0


class Ledger(Protocol):
    """Keeps accounts; a decision is atomic among all processes that share it."""

    async def reserve(self, account: Account, need: Need) -> Reservation | None:
        """Reserve the money, or return None if the account does not have it. Never fails."""
        ...

    async def balance(self, account: Account) -> Balance:
        """Return what all processes together have spent and reserved. Never fails."""
        ...

    def settle(self, reservation: Reservation, cost_usd: float) -> None:
        """Charge the actual cost of a request and release the rest. Never fails; call once."""
        ...

    def charge(self, account: Account, cost_usd: float) -> None:
        """Charge the cost of a request for which nothing was reserved in this account. Never fails."""
        ...

    def keep(self, reservations: Sequence[Reservation], name: str) -> None:
        """Keep the money reserved for the call `name` until `settle_pending`, over restarts. Never fails.

        The first of several accounts is the one that `find_pending` names; all are charged.
        """
        ...

    async def find_pending(self, name: str) -> PendingCall | None:
        """Return the call `name` if money is reserved for it, else None. Never fails."""
        ...

    def settle_pending(self, call: PendingCall, cost_usd: float) -> None:
        """Charge what a call cost, if no other process has done so, and release the rest. Never fails."""
        ...

    async def take_pending(self, call: PendingCall, cost_usd: float) -> bool:
        """Do as `settle_pending`, and return whether this call of it was the one that charged. Never fails."""
        ...


def period_name(period: Period, timestamp: float) -> str:
    """Return the name of the UTC day or month of a time."""
    moment = datetime.fromtimestamp(timestamp, timezone.utc)
    return moment.strftime("%Y-%m-%d" if period == "day" else "%Y-%m")


def day_name(timestamp: float) -> str:
    """Return the UTC day of a time."""
    return period_name("day", timestamp)


def admit(balance: Balance, need: Need) -> float | None:
    """Return the amount to reserve for a request, or None to refuse it.

    A request that could exceed the whole budget is still allowed as long as
    nothing is spent or reserved, and then reserves all of it; otherwise it
    could never run.
    """
    taken = balance.spent_usd + balance.held_usd
    if taken >= need.limit_usd:
        return None
    wanted = min(need.usd, need.limit_usd)
    return wanted if taken + wanted <= need.limit_usd * (1 + _ROUNDING) else None


def admit_in_turn(balance: Balance, needs: Iterable[Need]) -> list[float | None]:
    """Decide several requests of one account, in order."""
    grants: list[float | None] = []
    for need in needs:
        granted = admit(balance, need)
        grants.append(granted)
        if granted:
            balance = balance.plus(Balance(0.0, granted))
    return grants
