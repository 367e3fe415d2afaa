"""Alerts for budgets that are nearly spent: which are due, and their text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from .budget import Account, Balance, Budget, group_name, owner_words
from .budget_words import period_end


@frozen
class BudgetAlert:
    """A budget has reached a fraction of its limit for the first time in its period."""

    at: float
    """The fraction, such as 0.8."""
    account: Account
    limit_usd: float
    spent_usd: float

    @property
    def id(self) -> str:
        """An id that is the same in every process that notices it."""
        group = group_name(self.account.key)
        name = self.account.key if group is None else f"group:{group}"
        return f"{name}/{self.account.period}/{self.at:g}"

    @property
    def sentence(self) -> str:
        """The text for people, in logs and chats."""
        return (
            f"The budget of {owner_words(self.account.key)} for {self.account.period} is {self._percent} spent:"
            f" ${self.spent_usd:.4f} of ${self.limit_usd:.2f}."
            f" It starts anew at {period_end(self.account.period)}."
        )

    @property
    def _percent(self) -> str:
        return f"{100 * self.spent_usd / self.limit_usd:.0f} %"

    def document(self, now: float) -> dict[str, Any]:
        """Return the document for programs: an event as OpenAI's webhooks send them."""
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
    """Return the alerts whose fraction of the limit is spent; reserved money does not count."""
    budget = budgets.get(account.key)
    if budget is None or budget.limit_usd <= 0.0:
        return []
    spent = balance.spent_usd
    return [
        BudgetAlert(part, account, budget.limit_usd, spent)
        for part in parts
        if spent >= part * budget.limit_usd * (1 - 1e-12)
    ]
