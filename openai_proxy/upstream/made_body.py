"""A response body that is made here, in its own time, and not received from a socket.

Shared by the upstreams that are no servers (`mock`, `replay`). Flow control
of such a body stands here: nothing is made while its reader is paused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias, cast

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from zope.interface import implementer

from ..exchange.upstream_errors import UpstreamTimeout
from .answer_timer import NEVER

Steps: TypeAlias = Iterator[tuple[float, bytes]]
"""Seconds to wait and the bytes that come then; NEVER for ever. Ends, or raises Cut."""


class Cut(Exception):
    """Raised by `steps` where the upstream breaks off its answer."""


class Timers(Protocol):
    """The part of a reactor that a made body uses."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object) -> Any: ...


@implementer(IPushProducer)
class MadeBody:
    """The bytes of `steps`, each after its delay (a ResponseBody, and the transport of it).

    States: undelivered, delivering (flowing or paused), over. A delay longer
    than `idle_s`, and the end of `total_s`, break it off as they do the
    answer of a server. A delay runs on while the reader is paused; what is
    due then waits for it. Delays count from when the step before was due, not
    from when it came: what comes late does not make all that follows late.
    """

    whole = None

    def __init__(
        self,
        steps: Steps,
        timers: Timers,
        length: int | None = None,
        idle_s: float | None = None,
        total_s: float | None = None,
        began_at: float | None = None,
    ) -> None:
        """`began_at`: when the first delay began, by the clock of `timers`; default: now."""
        self._due_at = timers.seconds() if began_at is None else began_at
        self.length = length
        self._steps = steps
        self._timers = timers
        self._idle_s = NEVER if idle_s is None else idle_s
        self._total_s = NEVER if total_s is None else total_s
        self._protocol: IProtocol | None = None
        self._paused = False
        self._pushing = False
        self._over = False
        self._due: bytes | None = None
        """What has waited for its time, and perhaps for the reader."""
        self._timer: Any = None

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver to `protocol` from now on."""
        if self._over:
            return
        self._protocol = protocol
        protocol.makeConnection(cast(Any, self))
        self._push()

    def discard(self) -> None:
        """Make no more of it. Idempotent."""
        self._over = True
        self._protocol = None
        self._due = None
        self._steps = iter(())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stopProducing(self) -> None:
        self.discard()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._push()

    def _push(self) -> None:
        """Deliver until the reader pauses, something takes time, or all is delivered. May be re-entered."""
        if self._pushing or self._protocol is None:
            return
        self._pushing = True
        try:
            while not self._over and not self._paused and self._timer is None:
                if self._due is not None:
                    data, self._due = self._due, None
                    self._protocol.dataReceived(data)
                else:
                    self._next()
        finally:
            self._pushing = False

    def _next(self) -> None:
        try:
            delay_s, data = next(self._steps)
        except StopIteration:
            self._end(ResponseDone())
        except Cut:
            self._end(ConnectionLost())
        else:
            if delay_s <= 0:
                self._due = data
                return
            patience_s = min(self._idle_s, self._total_s)
            self._total_s -= delay_s
            if delay_s > patience_s:
                self._timer = self._timers.callLater(
                    max(patience_s, 0.0), self._late, patience_s < self._idle_s
                )
            elif delay_s < NEVER:
                self._due_at += delay_s
                left_s = self._due_at - self._timers.seconds()
                if left_s > 0:
                    self._timer = self._timers.callLater(left_s, self._arrived, data)
                else:
                    self._due = data
            else:
                self._timer = _Never()

    def _arrived(self, data: bytes) -> None:
        self._timer = None
        self._due = data
        self._push()

    def _late(self, altogether: bool) -> None:
        self._timer = None
        if altogether:
            self._end(
                UpstreamTimeout("The request took longer than this proxy allows.", kind="timeout_total")
            )
        else:
            self._end(UpstreamTimeout("The upstream fell silent.", kind="timeout_idle"))

    def _end(self, reason: Exception) -> None:
        protocol = self._protocol
        self._timer = None
        self.discard()
        if protocol is not None:
            protocol.connectionLost(Failure(reason))


class _Never:
    """Stands for the timer of a step that never comes, if no timeout ends the wait."""

    def cancel(self) -> None:
        """There is nothing to cancel."""
