"""Waiting for what happens in the reactor that the tests run in."""

from __future__ import annotations

import time
from collections.abc import Callable

from integration.scripted_upstream import PATIENCE_S
from twisted.internet import reactor
from twisted.internet.task import deferLater


async def until(condition: Callable[[], object]) -> None:
    """Wait until `condition()` is true; fail when it does not come true in time."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await deferLater(reactor, 0.01)
