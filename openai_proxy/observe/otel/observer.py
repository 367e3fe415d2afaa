"""The observer itself: from the reactor to the queue, start and stop."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogEvent, Logger

from .exporting import Exporting
from .observation import Observing

STOP_WITHIN_S = 2.0
_LOOK_EVERY_S = 0.02


class OtelObserver:
    """Queues what is reported of each exchange; about 15 µs on the reactor.

    `needs_usage`: streams are asked for their usage, which the conventions
    recommend to report.
    """

    needs_usage = True

    def __init__(self, observing: Observing, exporting: Exporting, timers: IReactorTime, log: Logger) -> None:
        self._observing = observing
        self._exporting = exporting
        self._timers = timers
        self._log = log

    def start(self) -> None:
        self._exporting.start()

    def __call__(self, event: LogEvent) -> None:
        self._exporting.put(self._observing.observe(event["exchange"]))

    def stop(self) -> Deferred[None]:
        """Send what waits for at most STOP_WITHIN_S; a collector that hangs is left hanging."""
        stopped: Deferred[None] = Deferred()
        self._exporting.begin_stop()
        self._look(stopped, round(STOP_WITHIN_S / _LOOK_EVERY_S))
        return stopped

    def _look(self, stopped: Deferred[None], times: int) -> None:
        exporting = self._exporting
        if exporting.running and times:
            self._timers.callLater(_LOOK_EVERY_S, self._look, stopped, times - 1)
            return
        if exporting.unsent:
            self._log.warn("stopping: {count} traces were not sent", count=exporting.unsent)
        stopped.callback(None)
