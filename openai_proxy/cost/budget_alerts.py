"""When a budget is near its end: which alerts are due, and what they say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from .budget import Account, Balance, Budget, group_name, owner_words
from .budget_words import period_end


@frozen
class BudgetAlert:
    """A budget has reached a part of its limit for the first time in its period."""

    at: float
    """The part, such as 0.8."""
    account: Account
    limit_usd: float
    spent_usd: float

    @property
    def id(self) -> str:
        """The same for every process that notices it."""
        group = group_name(self.account.key)
        name = self.account.key if group is None else f"group:{group}"
        return f"{name}/{self.account.period}/{self.at:g}"

    @property
    def sentence(self) -> str:
        """What people read, in logs and chats."""
        return (
            f"The budget of {owner_words(self.account.key)} for {self.account.period} is {self._percent} spent:"
            f" ${self.spent_usd:.4f} of ${self.limit_usd:.2f}."
            f" It starts anew at {period_end(self.account.period)}."
        )

    @property
    def _percent(self) -> str:
        return f"{100 * self.spent_usd / self.limit_usd:.0f} %"

    def document(self, now: float) -> dict[str, Any]:
        """Return what programs read: an event as OpenAI's webhooks send them."""
        group = group_name(self.account.key)
        return {
            "object": "event",
            "id": f"evt_{self.id}",
            "type": "budget.reached",
            "created_at": int(now),
            "data": {
                "key": self.account.key if group is None else None,
                **({} if group is None else {"group": group}),
                "period": self.account.period,
                "at": self.at,
                "budget_usd": self.limit_usd,
                "spent_usd": round(self.spent_usd, 9),
                "remaining_usd": round(max(0.0, self.limit_usd - self.spent_usd), 9),
                "resets_at": period_end(self.account.period),
                "message": self.sentence,
            },
        }


def due(
    account: Account, balance: Balance, budgets: Mapping[str, Budget], parts: Sequence[float]
) -> list[BudgetAlert]:
    """Return the alerts whose part of the limit is spent; what is set aside does not count."""
    budget = budgets.get(account.key)
    if budget is None or budget.limit_usd <= 0.0:
        return []
    spent = balance.spent_usd
    return [
        BudgetAlert(part, account, budget.limit_usd, spent)
        for part in parts
        if spent >= part * budget.limit_usd * (1 - 1e-12)
    ]
