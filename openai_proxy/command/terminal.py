"""Format text for a terminal: without control characters, and in aligned columns. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def printable(value: object) -> str:
    r"""Return a text with control characters escaped.

    >>> print(printable("a\x1b[2J"))
    a\x1b[2J
    """
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in str(value))


def aligned(rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> list[str]:
    """Return rows of the same number of cells as lines; the columns `numbers` are right-aligned.

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
