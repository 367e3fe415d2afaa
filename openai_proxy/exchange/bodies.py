"""A body that is all there: of a request or of a response.

One class for both directions. Bodies that still arrive are the edges' own.
Imported by the edges and by stages that answer themselves.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

BODY_DONE = Failure(ResponseDone("Response body fully received"))
"""How every whole response body ends, as twisted.web's IResponse says it."""


class _Delivery:
    """The transport of a body that is delivered in one piece: it is never paused."""

    __slots__ = ("stopped",)

    def __init__(self) -> None:
        self.stopped = False

    def stopProducing(self) -> None:
        """The receiver leaves: its end is not reported to it."""
        self.stopped = True

    loseConnection = abortConnection = stopProducing

    def pauseProducing(self) -> None:
        """Everything is delivered at once."""

    def resumeProducing(self) -> None:
        """Everything is delivered at once."""


@implementer(IBodyProducer)
class WholeBody:
    """All bytes of a body (a ResponseBody; an IBodyProducer for requests).

    Never mutated: it may be produced or delivered any number of times, and
    several exchanges may share one. A request's body that was read together
    with its head also answers what the client's channel asks of a body that
    arrives.
    """

    __slots__ = ("data", "length", "whole")

    complete = True
    kept = True
    rewindable = True

    def __init__(self, data: bytes, is_announced: bool = True) -> None:
        """`is_announced`: the head that belongs to it says how long it is."""
        self.data = data
        self.length: int = len(data) if is_announced else None  # type: ignore[assignment]  # IBodyProducer's is never None
        """Bytes; None for a response whose head does not say so (never for a request)."""
        self.whole: bytes | None = data if is_announced else None
        """All bytes, unless the head leaves the length open: such a response is sent in chunks."""

    # ---- a response's

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the bytes, then the end, unless the receiver leaves in between."""
        delivery = _Delivery()
        protocol.makeConnection(cast(Any, delivery))
        if self.data:
            protocol.dataReceived(self.data)
        if not delivery.stopped:
            protocol.connectionLost(BODY_DONE)

    def discard(self) -> None:
        """Nothing has to be freed."""

    # ---- a request's, on its way up (IBodyProducer)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self.data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Everything is written at once."""

    def resumeProducing(self) -> None:
        """Everything is written at once."""

    def stopProducing(self) -> None:
        """Nothing comes that would have to be dropped."""

    def rewind(self) -> bool:
        """It can always be produced again."""
        return True

    # ---- a request's, as the client's channel knows it

    @property
    def received(self) -> int:
        return len(self.data)

    def fail(self, error: Exception) -> None:
        """It is whole already: nothing can break it."""
