"""What one process tells others of the upstreams: circuits that open or close, keys that must wait. Pure."""

from __future__ import annotations

from typing import TypeAlias

from attrs import field, frozen


@frozen
class Change:
    """A circuit that has opened or closed: of `model` at `upstream`, or of the whole upstream (None)."""

    upstream: str
    model: str | None
    opened: bool
    reason: str
    """What the last failure was, or what closed it."""
    is_of_connections: bool = False
    """Of the whole upstream's two circuits it is the one for connections."""


@frozen
class KeyNews:
    """A key that an upstream has told to wait, or that it takes again."""

    upstream: str
    key: bytes = field(repr=False)
    spent: bool
    """It has no quota left."""
    until: float | None
    """Monotonic seconds; None: it is taken again."""


News: TypeAlias = "Change | KeyNews"
