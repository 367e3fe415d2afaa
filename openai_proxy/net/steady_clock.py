"""The reactor's timers on monotonic time.

Twisted counts `callLater` in wall-clock time. When the clock of the machine
was set back by an hour, nothing that was due fired for an hour: no time-out
towards clients or upstreams, no sweep, no flush.
"""

from __future__ import annotations

import time
from typing import Any

_MOST_APART_S = 1.0


def use_steady_clock(reactor: Any) -> bool:
    """Let `reactor` count its timers in monotonic seconds; say whether it does so now.

    To be called before anything is scheduled: what was scheduled by the wall
    clock would fire at a wrong time, so then nothing is changed. A reactor
    that has a clock of its own, as asyncio's has, keeps it.
    """
    if abs(reactor.seconds() - time.time()) > _MOST_APART_S:
        return True
    if reactor.getDelayedCalls():
        return False
    reactor.seconds = time.monotonic
    return True
