"""A body that is complete in memory: of a request or of a response.

One class serves both directions. The edges have their own bodies for those that
still arrive. Imported by the edges and by stages that answer themselves.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, ClassVar, cast

from attrs import define
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

BODY_DONE = Failure(ResponseDone("Response body fully received"))
"""The reason with which every complete response body ends, as in twisted.web's IResponse."""


class _Delivery:
    """The transport of a body that is delivered in one piece: it is never paused."""

    __slots__ = ("stopped",)

    def __init__(self) -> None:
        self.stopped = False

    def stopProducing(self) -> None:
        """Stop: the receiver leaves, and its end is not reported to it."""
        self.stopped = True

    loseConnection = abortConnection = stopProducing

    def pauseProducing(self) -> None:
        """Do nothing: everything is delivered at once."""

    def resumeProducing(self) -> None:
        """Do nothing: everything is delivered at once."""


@implementer(IBodyProducer)
@define(eq=False, repr=False)
class WholeBody:
    """All bytes of a body (a ResponseBody; an IBodyProducer for requests).

    Never mutated: it may be produced or delivered any number of times, and
    several exchanges may share one. A request's body that was read together
    with its head also has the methods that the client's channel calls on a body
    that arrives.
    """

    data: bytes

    complete: ClassVar = True
    kept: ClassVar = True
    rewindable: ClassVar = True
    whole: ClassVar[Any] = property(attrgetter("data"))
    """All bytes, as ResponseBody has them."""

    @property
    def length(self) -> int:
        """The number of bytes."""
        return len(self.data)

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
        """Do nothing: nothing has to be freed."""

    # ---- a request's, on its way up (IBodyProducer)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self.data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: everything is written at once."""

    def resumeProducing(self) -> None:
        """Do nothing: everything is written at once."""

    def stopProducing(self) -> None:
        """Do nothing: no more bytes will come."""

    def rewind(self) -> bool:
        """Return True: it can always be produced again."""
        return True

    # ---- a request's, for the client's channel

    @property
    def received(self) -> int:
        return len(self.data)

    def fail(self, error: Exception) -> None:
        """Do nothing: it is complete, and cannot fail any more."""


class UnannouncedBody(WholeBody):
    """A response's body whose length its head does not have: it is sent in chunks."""

    __slots__ = ()

    length: ClassVar[Any] = None
    whole: ClassVar[Any] = None
