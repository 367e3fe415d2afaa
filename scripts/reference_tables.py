#!/usr/bin/env python3
"""Write the tables of docs/reference/settings.md from the code.

    .venv/bin/python scripts/reference_tables.py

tests/docs/test_reference.py fails if that would change something.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from openai_proxy.settings import settings_reference
from openai_proxy.settings.fields import Allowed
from openai_proxy.settings.schema import model_at, section_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "settings.md"
GENERAL = "general"
"""The table of the settings that are in no table of the TOML file."""
ARRAYS = ("upstreams", "models", "keys", "groups", "cache.rules", "cost.prices", "replay.faults")
"""The arrays of tables, which only the TOML file can hold."""


def rewritten(page: str) -> str:
    """Return the page with every table between its markers made anew; ValueError if a marker is missing."""
    tables = settings_tables() | {name: array_table(name) for name in ARRAYS}
    for name, table in tables.items():
        pattern = rf"(<!-- table: {re.escape(name)} -->\n).*?(\n<!-- /table -->)"
        page, count = re.subn(pattern, lambda found, new=table: found[1] + new + found[2], page, flags=re.S)
        if count != 1:
            raise ValueError(
                f"docs/reference/settings.md must have one '<!-- table: {name} -->' with its end, not {count}"
            )
    return page


def settings_tables() -> dict[str, str]:
    """Return a table for each table of the TOML file, and one of the settings that are in none."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for row in settings_reference():
        if row.toml in ARRAYS:
            continue
        section, _, name = row.toml.partition(".")
        names = [*row.environment, *([f"--{row.option}"] if row.option else [])]
        secret = "; secret" if row.secret else ""
        groups.setdefault(section if name else GENERAL, []).append(
            (
                _code(row.toml),
                " ".join(map(_code, names)) or "only TOML",
                _default(row.default),
                row.meaning + secret,
            )
        )
    head = ("TOML", "environment, option", "default", "meaning")
    return {name: _table(head, rows) for name, rows in groups.items()}


def array_table(path: str) -> str:
    """Return the members of an array of tables; a member's own table with its members below it."""
    return _table(("member", "default", "meaning"), _members(model_at(tuple(path.split("."))), ""))


def _members(model: Any, prefix: str) -> Iterable[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None:
            yield from _members(inner, f"{prefix}{name}.")
        else:
            default = "required" if field.is_required() else _value(field.default)
            yield _code(prefix + name), default, (field.description or "") + _choice(field)


def _choice(field: Any) -> str:
    """Return the words that a field can be, if it can be only some."""
    allowed = next((each.text for each in field.metadata if isinstance(each, Allowed)), "")
    is_choice = "'" in allowed and not field.description.startswith("as ")
    return f": {allowed.replace(chr(39), chr(96))}" if is_choice else ""


def _value(value: Any) -> str:
    if value is None or value in ({}, ()):
        return "none"
    if isinstance(value, bool):
        return _code(str(value).lower())
    return _code(f"{value:g}" if isinstance(value, float) else str(value))


def _default(text: str) -> str:
    # A default in words, or an absent one, is no value to type.
    return text if " " in text or text in ("none", "off") else _code(text)


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
