"""What the service lends to whatever is built from settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from ..stores import Stores

Clock = Callable[[], float]


@frozen(eq=False)
class Surroundings:
    """What the service lends to whatever is built."""

    reactor: Any
    clock: Clock
    """Monotonic seconds."""
    stores: Stores
    adopt: Callable[[Any], None] = lambda transport: None
    """Given each connected transport; see `socket_group`."""
