"""What processes tell each other about upstreams: circuits that open or close, keys that must wait. Pure."""

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
    """The last failure, or what closed it."""
    is_of_connections: bool = False
    """It is the whole upstream's circuit for connections, not the one for failures."""


@frozen
class KeyNews:
    """A key that an upstream has told to wait, or that it accepts again."""

    upstream: str
    key: bytes = field(repr=False)
    spent: bool
    """It has no quota left."""
    until: float | None
    """Monotonic seconds; None: it is accepted again."""


News: TypeAlias = "Change | KeyNews"
