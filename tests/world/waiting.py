"""How tests wait for what another process or thread, or the reactor, does."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 120.0
"""What is to happen may take so long on a busy machine; if it happens at once nobody waits."""


def eventually(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> bool:
    """Wait until `condition()` is true; False when it does not come true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


async def until(condition: Callable[[], object]) -> None:
    """Wait until `condition()` is true; fail when it does not come true in time."""
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await deferLater(reactor, 0.01)
