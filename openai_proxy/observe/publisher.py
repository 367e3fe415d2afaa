"""Hands ended exchanges to observers in batches, off the response path.

Owned by `Serving`. An observer that raises is contained here: it never
hurts a request, nor another observer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, TimeoutError, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python.failure import Failure

from ..exchange.record import Exchange
from ..logs import logger
from .exchange_log.capture import Capture
from .interfaces import Observer

NAMESPACE = "openai_proxy.exchange"
REPORT_EVERY_S = 60.0
STOP_WITHIN_S = 10.0
"""How long the end of the daemon waits for an observer; ours take less than half."""

_LEVEL = LogLevel.info
_FORMAT = "exchange {exchange.id} ended: {exchange.outcome.value}"


class Contained:
    """One observer; what it raises is reported at most once a minute."""

    __slots__ = ("_clock", "_failures", "_log", "_reported_at", "flush", "observer")

    def __init__(self, observer: Observer, clock: Callable[[], float], log: Logger) -> None:
        self.observer = observer
        self.flush: Callable[[], object] | None = getattr(observer, "flush", None)
        self._clock = clock
        self._log = log
        self._failures = 0
        self._reported_at = -REPORT_EVERY_S

    def failed(self) -> None:
        """Say what was just raised."""
        self._failures += 1
        now = self._clock()
        if now - self._reported_at >= REPORT_EVERY_S:
            self._reported_at = now
            self._log.failure(
                "observer {observer} failed ({failures} times so far)",
                observer=type(self.observer).__name__,
                failures=self._failures,
            )


def _tell(events: Sequence[LogEvent], members: tuple[Contained, ...]) -> None:
    """Give each event to each member, and let each member flush after the last one, whatever another member does.

    Twisted's LogPublisher takes three times as long.
    """
    for event in events[:-1]:
        for member in members:
            try:
                member.observer(event)
            except Exception:
                member.failed()
    last = events[-1]
    for member in members:
        try:
            member.observer(last)
        except Exception:
            member.failed()
        flush = member.flush
        if flush is not None:
            try:
                flush()
            except Exception:
                member.failed()


class ExchangePublisher:
    """Fans ended exchanges out to the observers.

    States: built, started (`start`), stopped (`stop`). The caller ends an
    exchange, then calls `ending` once, before the last byte goes to the
    client. Cost there: under 1 µs, plus what the synchronous observers do.
    They get several exchanges in a row if `before_sending` takes a call,
    to be made before anything is sent to any client.
    """

    def __init__(
        self,
        observers: Sequence[Observer],
        scheduler: IReactorTime,
        log: Logger | None = None,
        clock: Callable[[], float] = time.monotonic,
        before_sending: Callable[[Callable[[], None]], bool] = lambda call: False,
    ) -> None:
        self.observers = tuple(observers)
        self._scheduler = scheduler
        self._log = log or logger("openai_proxy.observe")
        contained = [Contained(each, clock, self._log) for each in observers]
        synchronous = [each for each in contained if getattr(each.observer, "synchronous", False)]
        self._at_once = tuple(synchronous)
        self._before_sending = before_sending
        self._unseen: list[LogEvent] = []
        """What the synchronous ones get before anything more is sent."""
        self.is_synchronous = bool(synchronous)
        """True if an observer must see an exchange before its client sees the end of it."""
        self._batched = tuple(each for each in contained if each not in synchronous)
        self._waiting: list[LogEvent] = []
        self._timer: IDelayedCall | None = None
        limits = [
            int(getattr(each, "body_limit_bytes", 0))
            for each in observers
            if getattr(each, "needs_bodies", False)
        ]
        self.capture_limit_bytes: int | None = max(limits) if limits else None
        """How much of each body to keep, or None if no observer wants bodies."""
        timed = any(getattr(each, "needs_arrivals", False) for each in observers)
        self.capture: Callable[[], Capture | None] = (
            partial(Capture, max(limits), clock if timed else None) if limits else lambda: None
        )
        """Returns what an exchange keeps its bodies in, or None if nobody wants them."""
        self.needs_usage = any(getattr(each, "needs_usage", False) for each in observers)
        """True if streams must be made to report their usage."""
        refusals = [getattr(each, "refusal", None) for each in observers]
        self._refusals: list[Callable[[], str | None]] = [each for each in refusals if each is not None]
        self.may_refuse = bool(self._refusals)
        """True if an observer must be asked before a request begins."""

    def refusal(self) -> str | None:
        """Return why no request may begin now, as an observer says it; None if one may."""
        for each in self._refusals:
            reason = each()
            if reason is not None:
                return reason
        return None

    def start(self) -> None:
        """Start the observers in order; if one raises, stop those before it and raise."""
        started: list[Observer] = []
        try:
            for observer in self.observers:
                _call(observer, "start")
                started.append(observer)
        except Exception:
            for observer in started:
                self._owned(maybeDeferred(_call, observer, "stop"))
            raise

    def ending(self, exchange: Exchange) -> None:
        """Publish an ended exchange; the synchronous observers have it before anything more is sent."""
        event: LogEvent = {  # made by hand: a Logger costs 20 µs
            "log_namespace": NAMESPACE,
            "log_level": _LEVEL,
            "log_time": exchange.timestamp,
            "log_format": _FORMAT,
            "exchange": exchange,
        }
        if self._at_once:
            self._unseen.append(event)
            if len(self._unseen) == 1 and not self._before_sending(self._tell_at_once):
                self._tell_at_once()
        if self._batched:
            self._waiting.append(event)
            if self._timer is None:
                # The next turn: a busy daemon ends dozens of exchanges in one turn, an idle one publishes at once.
                self._timer = self._scheduler.callLater(0, self._expired)

    def _tell_at_once(self) -> None:
        unseen, self._unseen = self._unseen, []
        if unseen:
            _tell(unseen, self._at_once)

    def _expired(self) -> None:
        self._timer = None
        self.flush()

    def flush(self) -> None:
        """Hand over what waits, now."""
        self._tell_at_once()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        if waiting:
            _tell(waiting, self._batched)

    def reopen(self) -> None:
        """Reopen log files; a failure is logged and leaves the others alone."""
        self.flush()
        for observer in self.observers:
            self._owned(maybeDeferred(_call, observer, "reopen"))

    def stop(self) -> Deferred[Any]:
        """Flush, then stop every observer; fires when all have, or have had STOP_WITHIN_S, and never fails."""
        self.flush()
        return DeferredList([self._owned(self._stopped(each)) for each in self.observers])

    def _stopped(self, observer: Observer) -> Deferred[Any]:
        def too_late(failure: Failure) -> None:
            failure.trap(TimeoutError)
            self._log.error(
                "observer {observer} has not stopped within {seconds:g} s",
                observer=type(observer).__name__,
                seconds=STOP_WITHIN_S,
            )

        stopping: Deferred[Any] = maybeDeferred(_call, observer, "stop")
        return stopping.addTimeout(STOP_WITHIN_S, self._scheduler).addErrback(too_late)

    def _owned(self, result: Deferred[Any]) -> Deferred[Any]:
        return result.addErrback(lambda failure: self._log.failure("an observer failed", failure))


def _call(observer: Observer, name: str) -> Any:
    method = getattr(observer, name, None)
    return method() if method is not None else None
