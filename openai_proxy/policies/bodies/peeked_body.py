"""A response body whose beginning has been read and is delivered again.

For stages that must look at a small body before they decide about it. Imports
only the vocabulary of `exchange`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from ...exchange.messages import ProxyResponse, ResponseBody

Enough = Callable[[bytes], bool]
"""Called with each piece of a body as it comes: True if no more is wanted."""


def _never(data: bytes) -> bool:
    return False


async def peek(
    response: ProxyResponse,
    limit_bytes: int,
    enough: Enough = _never,
    timers: Any = None,
    patience_s: float = 0.0,
) -> tuple[ProxyResponse, bytes]:
    """Return the response, still to be delivered or discarded, and the beginning of its body.

    That is all of a body that ends before `limit_bytes`, else that number of
    bytes and whatever came in the same read. It is less if `enough` returns
    True, or when `patience_s` is over (with `timers`, an IReactorTime). If the
    client leaves meanwhile the body is discarded.
    """
    body = PeekedBody(response.body, limit_bytes, enough)
    peeked = body.peek()
    if timers is not None and not peeked.called:
        timer = timers.callLater(patience_s, body.stop_peeking)
        peeked.addBoth(_cancelled, timer)
    try:
        beginning = await peeked
    except CancelledError:
        body.discard()
        raise
    return response.evolve(body=body), beginning


def _cancelled(result: Any, timer: Any) -> Any:
    if timer.active():
        timer.cancel()
    return result


class PeekedBody(Protocol):
    """Reads up to `limit_bytes`, then holds the rest back until it is delivered or discarded.

    States: peeking, held (enough read, or ended), delivered, discarded.
    """

    whole = None
    """Unknown: whoever wants the length takes delivery."""

    def __init__(self, body: ResponseBody, limit_bytes: int, enough: Enough = _never) -> None:
        self._body = body
        self._enough = enough
        self._limit_bytes = limit_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._reason: Failure | None = None
        self._target: IProtocol | None = None
        self._discarded = False
        self._paused = False
        self._peeked: Deferred[bytes] | None = None

    def peek(self) -> Deferred[bytes]:
        """Fire with the beginning of the body; call once. May be cancelled: discard it then."""
        peeked: Deferred[bytes] = Deferred()
        self._peeked = peeked
        self._body.deliverBody(cast(IProtocol, self))
        return peeked

    def stop_peeking(self) -> None:
        """Read no more; what has come is the beginning. Idempotent."""
        if self._reason is None:
            cast(Any, self.transport).pauseProducing()
        self._give()

    @property
    def ended(self) -> bool:
        """Whether all of the body has come."""
        return self._reason is not None

    @property
    def length(self) -> int | None:
        return self._body.length

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the whole body, the part already read first."""
        self._target = protocol
        held, self._held = self._held, []
        self._paused = False
        protocol.makeConnection(cast(Any, self))
        if held:
            protocol.dataReceived(b"".join(held))
        if self._reason is not None:
            protocol.connectionLost(self._reason)
        elif not self._paused:
            cast(Any, self.transport).resumeProducing()

    def discard(self) -> None:
        """Free the connection; idempotent."""
        self._discarded = True
        self._held = []
        if self._reason is None:
            self._body.discard()

    # ---- the transport that deliverBody gives

    def pauseProducing(self) -> None:
        self._paused = True
        if self._reason is None:
            cast(Any, self.transport).pauseProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        if self._reason is None:
            cast(Any, self.transport).resumeProducing()

    def stopProducing(self) -> None:
        if self._reason is None:
            cast(Any, self.transport).stopProducing()

    loseConnection = abortConnection = stopProducing

    # ---- fed by the body

    def dataReceived(self, data: bytes) -> None:
        if self._target is not None:
            self._target.dataReceived(data)
        elif not self._discarded:
            self._held.append(data)
            self._held_bytes += len(data)
            if self._peeked is None or self._enough(data) or self._held_bytes >= self._limit_bytes:
                self.stop_peeking()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._reason = reason
        if self._target is not None:
            self._target.connectionLost(reason)
        self._give()

    def _give(self) -> None:
        peeked, self._peeked = self._peeked, None
        if peeked is not None and not peeked.called:
            peeked.callback(b"".join(self._held))
