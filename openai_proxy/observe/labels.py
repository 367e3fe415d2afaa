"""Bounded label values: strangers choose model names, memory is ours.

Pure.
"""

from __future__ import annotations

from .record import shown

OTHER = "other"
NONE = "none"


class BoundedLabels:
    """The first `limit` distinct values keep their names, the rest is `other`."""

    def __init__(self, limit: int = 200) -> None:
        self._limit = limit
        self._known: dict[str, str] = {}

    def label(self, value: str | None, *, admit: bool = True) -> str:
        """Return the label of `value`, `none` for None.

        With `admit=False` an unknown value takes no place: refused requests
        must not be able to use the names up.
        """
        if not value:
            return NONE
        known = self._known.get(value)
        if known is not None:
            return known
        if not admit or len(self._known) >= self._limit or len(value) > 200:
            return OTHER
        return self._known.setdefault(value, shown(value))
