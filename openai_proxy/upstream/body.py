"""Request bodies towards the upstream.

`KnownBody` is a body in memory, sent with the head in one write;
`BodyWriter` takes a streamed one, framed, with back-pressure.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer


@implementer(IBodyProducer)
class KnownBody:
    """All bytes are there; may be produced any number of times."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self.data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Everything is written at once."""

    def resumeProducing(self) -> None:
        """Everything is written at once."""

    def stopProducing(self) -> None:
        """Everything is written at once."""


def as_body_producer(data: Any) -> IBodyProducer:
    """What treq's client calls to make a body of its `data` argument."""
    if isinstance(data, bytes):
        return KnownBody(data)
    return IBodyProducer(data)


@implementer(IConsumer)
class BodyWriter:
    """The consumer a streamed body writes into: counts or chunks."""

    def __init__(self, transport: Any, length: int | str) -> None:
        self._transport = transport
        self._chunked = length is UNKNOWN_LENGTH

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """The connection registers the body itself."""

    def unregisterProducer(self) -> None:
        """The connection unregisters the body itself."""

    def write(self, data: bytes) -> None:
        if self._chunked:
            if data:
                self._transport.writeSequence((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            self._transport.write(data)

    def finish(self) -> None:
        """Write the end mark where the framing has one."""
        if self._chunked:
            self._transport.write(b"0\r\n\r\n")
