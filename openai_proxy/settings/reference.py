"""All settings as a table: for `--help` and docs/reference/settings.md."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from .schema import Leaf, leaves


@frozen
class Row:
    """One setting, as the reference shows it."""

    toml: str
    environment: tuple[str, ...]
    """Its variables, of which the first set one is used; empty for TOML only."""
    option: str | None
    """Its long command-line option without dashes."""
    default: str
    meaning: str
    secret: bool
    """Whether each variable has a form with `_FILE` appended, which names a file."""


def settings_reference() -> tuple[Row, ...]:
    """Return a row for every setting, in the order of the models."""
    return tuple(
        Row(
            toml=leaf.path,
            environment=leaf.environment,
            option=leaf.doc.option,
            default=leaf.doc.default or _default(leaf),
            meaning=leaf.field.description or "",
            secret=leaf.doc.secret,
        )
        for leaf in leaves()
    )


def _default(leaf: Leaf) -> str:
    value: Any = leaf.field.default
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return " ".join(value)
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)
