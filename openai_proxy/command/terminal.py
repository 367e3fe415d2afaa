"""Text for a terminal: nothing that it would obey, and columns that stand below each other. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def printable(value: object) -> str:
    r"""Return a text without what a terminal would obey.

    >>> print(printable("a\x1b[2J"))
    a\x1b[2J
    """
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in str(value))


def aligned(rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> list[str]:
    """Return rows of equally many cells as lines; the columns `numbers` end below each other.

    >>> aligned([("a", "10"), ("bbb", "5")], [1])
    ['a    10', 'bbb   5']
    """
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
    return [
        "  ".join(
            cell.rjust(width) if at in numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
