"""The end of serving: running exchanges may finish, then the rest is cut off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from ..downstream.site import ProxySite
from ..logs import logger

log = logger("openai_proxy")

ABORT_AFTER_DRAIN_S = 2.0
_LOOK_EVERY_S = 0.05


class Drain:
    """Waits for the exchanges of a site, and for other workers that read an answer of this one. Owned by `Serving`.

    States: built, draining (`begin`), over. `hurry` may come at any time.
    """

    def __init__(
        self,
        reactor: Any,
        clock: Callable[[], float],
        site: ProxySite,
        abort: Callable[[], None],
        readers: Callable[[], int] = lambda: 0,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._site = site
        self._abort = abort
        self._readers = readers
        self._timeout_s: float | None = None
        self._started_at = 0.0
        self._over: Deferred[None] | None = None

    @property
    def begun(self) -> bool:
        return self._over is not None

    def begin(self, timeout_s: float) -> Deferred[None]:
        """Accept nothing new; fire when all has ended, or was aborted after `timeout_s`. Call once."""
        over = self._over = Deferred()
        self._started_at = self._clock()
        if self._timeout_s is None:
            self._timeout_s = timeout_s
        self._site.drain()
        if running := self._running():
            log.info("draining: {running} requests still run", running=running)
        self._look()
        return over

    def hurry(self) -> None:
        """Wait no longer for what still runs."""
        self._timeout_s = 0.0
        self._look()

    def _running(self) -> int:
        return sum(1 for channel in self._site.channels if channel.busy) + self._readers()

    def _look(self) -> None:
        if self._over is None or self._over.called or self._timeout_s is None:
            return
        readers = self._readers()
        busy = readers or any(channel.busy for channel in self._site.channels)
        # a connection that is no longer busy may still be sending its last bytes
        until = self._started_at + self._timeout_s + (0.0 if busy else ABORT_AFTER_DRAIN_S)
        if (self._site.channels or readers) and self._clock() < until:
            self._reactor.callLater(_LOOK_EVERY_S, self._look)
            return
        if busy:
            log.warn("{running} requests still run and are cut off", running=self._running())
        self._site.abort()
        self._abort()
        # connectionLost comes in the next turns; records end there
        self._reactor.callLater(0.02, self._end)

    def _end(self) -> None:
        if self._over is not None and not self._over.called:
            self._over.callback(None)
