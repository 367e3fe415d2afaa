"""Parse the members of a key for `openai-proxy key`, and format keys. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .terminal import aligned, printable

_BUDGET = re.compile(r"(\$?)([0-9]+(?:\.[0-9]+)?)(?:/(day|month))?")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|d)?")
_UNITS = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
_COLUMNS = ("name", "state", "source", "group", "budget", "spent", "last used")


def seconds(text: str) -> float:
    """Parse a duration; raise ValueError for anything else.

    >>> seconds("90"), seconds("24h"), seconds("7d")
    (90.0, 86400.0, 604800.0)
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is no duration such as 90, 24h or 7d")
    return float(found[1]) * _UNITS[found[2]]


def budget(text: str) -> dict[str, Any]:
    """Parse an amount of US dollars and its period; `none` removes the budget.

    >>> budget("20/month"), budget("0.5"), budget("none")
    ({'budget_usd': 20.0, 'budget_period': 'month'}, {'budget_usd': 0.5}, {'budget_usd': None, 'budget_period': None})
    """
    if text.strip().lower() == "none":
        return {"budget_usd": None, "budget_period": None}
    found = _BUDGET.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is no budget such as 20/month, 0.5/day or none")
    return {"budget_usd": float(found[2]), **({"budget_period": found[3]} if found[3] else {})}


def members(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that a command line sets; `none` removes one. Raise ValueError with the mistake."""
    document: dict[str, Any] = {}
    for name in ("models", "endpoints", "addresses"):
        text = options.get(name)
        if text is not None:
            document[name] = None if text == "none" else [part.strip() for part in text.split(",")]
    for name in ("expires", "group", "note"):
        text = options.get(name)
        if text is not None:
            document[name] = None if text == "none" else text
    if options.get("budget") is not None:
        document |= budget(options["budget"])
    limits = {name: _limit(options[name]) for name in LIMITS if options.get(name) is not None}
    if limits:
        document["limits"] = limits
    return document


def _limit(text: str) -> int | str | None:
    if text in ("none", "off"):
        return "none"
    if text == "default":
        return None
    if not text.isdecimal():
        raise ValueError(f"{text[:40]!r} is no limit: a whole number, none, or default")
    return int(text)


def table(keys: Sequence[Mapping[str, Any]]) -> str:
    """Return one line for each key, below a line of headings."""
    rows = [_COLUMNS, *(_row(key) for key in keys)]
    return "\n".join(aligned(rows))


def _row(key: Mapping[str, Any]) -> tuple[str, ...]:
    amount, period = key.get("budget_usd"), key.get("budget_period")
    used = key.get("last_used")
    spent = key.get("spent_usd")
    return tuple(
        printable(cell)
        for cell in (
            key.get("name"),
            key.get("state"),
            key.get("source"),
            key.get("group") or "-",
            "-" if amount is None else f"{amount:g}/{period}",
            "-" if spent is None else f"{spent:.4f}",
            "never" if used is None else str(used)[:16].replace("T", " "),
        )
    )


def lines(key: Mapping[str, Any]) -> str:
    """Return one line for each member of a key, without its secret."""
    shown = {
        name: value
        for name, value in key.items()
        if name not in ("object", "key") and value not in (None, {})
    }
    width = max(map(len, shown))
    return "\n".join(f"{name:{width}}  {printable(_text(value))}" for name, value in shown.items())


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return str(value)
