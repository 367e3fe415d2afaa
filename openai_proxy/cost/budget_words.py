"""The message for a client over its budget: the amounts, and when the budget starts anew. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from .budget import Account, Balance, Need, owner_words


def dollars(value: float) -> str:
    """Write an amount with two to six digits after the point.

    >>> dollars(0.0145), dollars(20)
    ('$0.0145', '$20.00')
    """
    text = f"{value:.6f}".rstrip("0")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents:0<2}"


def budget_words(account: Account, need: Need, balance: Balance) -> str:
    """Say the possible cost of a request, the rest of the budget, and when the budget starts anew."""
    left_usd = max(0.0, need.limit_usd - balance.spent_usd - balance.held_usd)
    return (
        f"The budget of {owner_words(account.key)} at openai-proxy is used up: this request may cost {dollars(need.usd)}, of"
        f" {dollars(need.limit_usd)} for {account.period} {dollars(left_usd)} are left; it starts anew at"
        f" {period_end(account.period)}."
    )


def period_end(period: str) -> str:
    """Return when a period of a budget ends, in UTC.

    >>> period_end("2026-12"), period_end("2026-02-28")
    ('2027-01-01T00:00Z', '2026-03-01T00:00Z')
    """
    day = len(period) == len("2026-11-21")
    start = datetime.strptime(period, "%Y-%m-%d" if day else "%Y-%m").replace(tzinfo=timezone.utc)
    end = start + timedelta(days=1) if day else (start + timedelta(days=31)).replace(day=1)
    return f"{end:%Y-%m-%dT%H:%MZ}"
