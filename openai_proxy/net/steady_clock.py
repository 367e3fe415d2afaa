"""The reactor's timers on monotonic time.

Twisted counts `callLater` in wall-clock time. If the machine's clock was set
back by an hour, no timer fired for an hour: no timeout towards clients or
upstreams, no sweep, no flush.
"""

from __future__ import annotations

import time
from typing import Any

_MOST_APART_S = 1.0


def use_steady_clock(reactor: Any) -> bool:
    """Let `reactor` count its timers in monotonic seconds; return whether it does so now.

    Call it before anything is scheduled: calls scheduled by the wall clock
    would fire at a wrong time, so in that case nothing is changed. A reactor
    with a clock of its own, such as asyncio's, keeps it.
    """
    if abs(reactor.seconds() - time.time()) > _MOST_APART_S:
        return True
    if reactor.getDelayedCalls():
        return False
    reactor.seconds = time.monotonic
    return True
