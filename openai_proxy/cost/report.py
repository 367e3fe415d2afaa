"""The documents of `/admin/usage`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from ..observe.redaction import scrubbed
from .budget import Account, Balance, Budget, group_name
from .day_rows import COUNTED, Row, RowKey, Totals

_COLUMNS = ("day", "key", "model")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""The first characters of what a spreadsheet would run as a formula."""


@frozen
class BudgetBalance:
    """The state of one key's budget in its current period."""

    budget: Budget
    account: Account
    balance: Balance


def usage_document(
    rows: Sequence[Row],
    budgets: Sequence[BudgetBalance],
    since: str | None,
    tags: Sequence[Row] = (),
) -> dict[str, Any]:
    """Return the totals: of all, by key, by model, by day, and of each combination.

    `since` is when counting began if the totals are only those of this process,
    else None.
    """
    return {
        "object": "usage",
        "currency": "usd",
        "since": since,
        "total": _shown(_sum(rows)),
        "by_key": _grouped(rows, 1),
        "by_model": _grouped(rows, 2),
        "by_day": _grouped(rows, 0),
        **({"by_tag": _by_tag(tags)} if tags else {}),
        "data": [{**_named(key), **_shown(totals)} for key, totals in rows],
        "budgets": [_budget(each) for each in budgets],
    }


def usage_row(key: RowKey, totals: Totals) -> dict[str, Any]:
    """Return one row for the owner of a key: without the key's name."""
    names = ("requests", "input_tokens", "output_tokens", "cached_tokens", "cost_usd")
    shown = _shown(totals)
    return {"day": key[0], "model": _name(key[2]), **{name: shown[name] for name in names}}


def usage_csv(rows: Sequence[Row]) -> str:
    """Return one line for each day, key and model, after a header line."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow((*_COLUMNS, *COUNTED))
    for key, totals in rows:
        shown = _shown(totals)
        counts = {**shown, "cost_usd": f"{totals.cost_usd:.9f}"}
        writer.writerow((*map(_cell, _named(key).values()), *(counts[name] for name in COUNTED)))
    return text.getvalue()


def _cell(value: str | None) -> str:
    if value is None:
        return ""
    return "'" + value if value.startswith(_FORMULA) else value


def _sum(rows: Sequence[Row]) -> Totals:
    total = Totals()
    for _, totals in rows:
        total.add(totals)
    return total


def _grouped(rows: Sequence[Row], column: int) -> list[dict[str, Any]]:
    groups: dict[str, Totals] = {}
    for key, totals in rows:
        groups.setdefault(key[column], Totals()).add(totals)
    name = _COLUMNS[column]
    return [{name: _name(value), **_shown(totals)} for value, totals in sorted(groups.items())]


def _by_tag(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the sums over all days; a request with two tags is in two of them."""
    groups: dict[tuple[str, str], Totals] = {}
    for (_, tag, value), totals in rows:
        groups.setdefault((tag, value), Totals()).add(totals)
    return [
        {"tag": tag, "value": scrubbed(value), **_shown(totals)}
        for (tag, value), totals in sorted(groups.items())
    ]


def _named(key: RowKey) -> dict[str, str | None]:
    return {name: _name(value) for name, value in zip(_COLUMNS, key, strict=True)}


def _name(value: str) -> str | None:
    return scrubbed(value) if value else None


def _shown(totals: Totals) -> Mapping[str, Any]:
    values = {name: getattr(totals, name) for name in COUNTED}
    return {**values, "cost_usd": round(totals.cost_usd, 9)}


def _budget(each: BudgetBalance) -> dict[str, Any]:
    group = group_name(each.account.key)
    spent_usd, held_usd = each.balance.spent_usd, each.balance.held_usd
    return {
        **({"key": each.account.key} if group is None else {"group": group}),
        "period": each.account.period,
        "budget_usd": each.budget.limit_usd,
        "spent_usd": round(spent_usd, 9),
        "reserved_usd": round(held_usd, 9),
        "remaining_usd": round(max(0.0, each.budget.limit_usd - spent_usd - held_usd), 9),
    }
