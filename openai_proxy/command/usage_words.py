"""The output of `openai-proxy usage`, for one key or for all. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .terminal import aligned, printable

_COUNTED = ("requests", "input_tokens", "output_tokens")
_HEADINGS = {"input_tokens": "TOKENS IN", "output_tokens": "TOKENS OUT"}
_LIMITS = {"requests": "requests a minute", "tokens": "tokens a minute", "concurrent": "requests at once"}

Document = Mapping[str, Any]


def dollars(amount: float) -> str:
    """Format an amount; small amounts have as many digits as they need.

    >>> dollars(5), dollars(0.00123), dollars(1234.5)
    ('$5.00', '$0.001230', '$1,234.50')
    """
    return f"${amount:,.6f}" if 0 < amount < 0.01 else f"${amount:,.2f}"


def of_key(key: Document) -> list[str]:
    """Return the answer of `GET /key` as lines."""
    group, expires = key.get("group"), key.get("expires")
    head = printable(key.get("name"))
    head += f" of {printable(group)}" if group else ""
    head += f", until {printable(expires)}" if expires else ""
    lines = [head]
    lines += [
        f"{name}: {', '.join(map(printable, key[name])) or 'none'}"
        for name in ("models", "endpoints")
        if key.get(name) is not None
    ]
    lines += [_limit(name, limit) for name, limit in (key.get("limits") or {}).items() if limit]
    lines += [_budget(budget) for budget in key.get("budgets") or ()]
    return [*lines, "", *_table(key.get("usage") or (), ("day", "model"))]


def of_all(usage: Document) -> list[str]:
    """Return the answer of `GET /admin/usage` as lines."""
    lines = _table(usage.get("data") or (), ("day", "key", "model"))
    budgets = [_budget({**budget, "of": _owner(budget)}) for budget in usage.get("budgets") or ()]
    since = (
        [f"counted since {printable(usage['since'])}, when this proxy was started"]
        if usage.get("since")
        else []
    )
    return [*lines, *([""] if budgets or since else []), *budgets, *since]


def _owner(budget: Document) -> str | None:
    """Return the owner of a budget: a key or a group."""
    group = budget.get("group")
    return budget.get("key") if group is None else f"the group {group}"


def _limit(name: str, limit: Document) -> str:
    what = _LIMITS.get(name, printable(name))
    return f"{limit['limit']:,.0f} {what}, {limit['remaining']:,.0f} left"


def _budget(budget: Document) -> str:
    of = printable(budget.get("of") or "-")
    named = f" {printable(budget['name'])}" if budget.get("name") else ""
    again = f", anew at {printable(budget['resets_at'])}" if budget.get("resets_at") else ""
    spent, whole = dollars(budget["spent_usd"]), dollars(budget["budget_usd"])
    left = dollars(budget["remaining_usd"])
    return f"budget of {of}{named} for {printable(budget.get('period'))}: {spent} of {whole} spent, {left} left{again}"


def _table(rows: Iterable[Document], names: Sequence[str]) -> list[str]:
    """Return the rows as a table with their sum; or a line that says that there are none."""
    listed = list(rows)
    if not listed:
        return ["nothing was used"]
    headings = [_HEADINGS.get(name, name.upper()) for name in (*names, *_COUNTED)]
    total = {name: sum(row[name] for row in listed) for name in (*_COUNTED, "cost_usd")}
    lines = [[*headings, "COST"]]
    lines += [[*(printable(row.get(name) or "-") for name in names), *_figures(row)] for row in listed]
    if len(listed) > 1:
        lines.append(["total", *("" for _ in names[1:]), *_figures(total)])
    return aligned(lines, range(len(names), len(lines[0])))


def _figures(row: Document) -> list[str]:
    return [*(f"{row[name]:,}" for name in _COUNTED), dollars(row["cost_usd"])]
