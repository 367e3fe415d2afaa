"""A response of the upstream: its head, and its body undelivered.

twisted.web's IResponse, so that treq's functions work on it, with the raw
header lines kept. A body that had not ended when its head came is an
`UpstreamBody`, fed by the connection.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer

from ..exchange.bodies import BODY_DONE
from ..exchange.messages import ResponseBody
from ..net.twisted_headers import WireHeaders
from .contract import BodySource


class _Nobody:
    """Takes what comes after the end instead of whoever took the body, so that both are freed at once."""

    def dataReceived(self, data: bytes) -> None:
        """Nobody listens."""

    def connectionLost(self, reason: Failure) -> None:
        """Nobody listens."""


_NOBODY = _Nobody()


@implementer(IResponse)
class UpstreamResponse:
    """One response: `pairs` are its lines but the hop-by-hop ones (of a 101: all), `body` is to be delivered or discarded once."""

    version = (b"HTTP", 1, 1)
    request: Any = None
    previousResponse: Any = None

    def __init__(
        self, code: int, phrase: bytes, pairs: list[tuple[bytes, bytes]], body: ResponseBody
    ) -> None:
        self.code = code
        self.phrase = phrase
        self.pairs = pairs
        self.body = body

    @property
    def length(self) -> int:
        """Bytes of the body, or UNKNOWN_LENGTH, as IResponse has it."""
        length = self.body.length
        return UNKNOWN_LENGTH if length is None else length  # type: ignore[return-value]  # a str by design

    @property
    def headers(self) -> WireHeaders:
        return WireHeaders(self.pairs)

    def setPreviousResponse(self, response: Any) -> None:
        self.previousResponse = response

    def deliverBody(self, protocol: IProtocol) -> None:
        """Hand over the body; see `messages.ResponseBody`."""
        self.body.deliverBody(protocol)

    def discard(self) -> None:
        """Discard the body, which nobody wants."""
        self.body.discard()


class UpstreamBody:
    """The body of one response while it comes (a ResponseBody, and the transport of it).

    States: undelivered (what came is kept, reading is paused), delivering,
    over (ended, broken or discarded). `_source` is None once it is over.
    """

    whole: bytes | None = None
    """It was not there when the head was."""
    _protocol: Any = None
    _end: Failure | None = None

    def __init__(self, source: BodySource, length: int | None) -> None:
        self.length = length
        self._source: BodySource | None = source
        self._waiting: list[bytes] = []

    # ---- towards whoever takes it

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver what has arrived, and then what arrives. Called once."""
        if self._protocol is not None:
            raise RuntimeError("a response body is delivered once")
        self._protocol = protocol
        protocol.makeConnection(self)  # type: ignore[arg-type]  # the producer half of a transport
        waiting, self._waiting = self._waiting, []
        if self._source is not None:
            self._source.resume_reading()  # before the first bytes: a pause that they bring about lasts
        if waiting:
            protocol.dataReceived(waiting[0] if len(waiting) == 1 else b"".join(waiting))
        if self._end is not None:
            self._protocol = _NOBODY
            protocol.connectionLost(self._end)

    def discard(self) -> None:
        """Discard the rest; abort the connection if it is still busy with it."""
        source, self._source = self._source, None
        self._waiting.clear()
        if self._protocol is not None:
            self._protocol = _NOBODY
        if source is not None:
            source.abort()

    # ---- the transport that deliverBody gives

    def pauseProducing(self) -> None:
        if self._source is not None:
            self._source.pause_reading()

    def resumeProducing(self) -> None:
        if self._source is not None:
            self._source.resume_reading()

    def stopProducing(self) -> None:
        self.discard()

    loseConnection = abortConnection = stopProducing

    # ---- fed by the connection

    @property
    def taken(self) -> bool:
        return self._protocol is not None

    def feed(self, data: bytes) -> None:
        """Pass on bytes that have arrived, or keep them until the body is delivered."""
        if self._protocol is not None:
            self._protocol.dataReceived(data)
        else:
            self._waiting.append(data)

    def end(self, reason: Failure) -> None:
        """End the body: `reason` is BODY_DONE if it is whole, otherwise why it broke off."""
        if self._source is None and reason is not BODY_DONE:
            return
        self._source = None
        self._end = reason
        if self._protocol is not None:
            protocol, self._protocol = self._protocol, _NOBODY
            protocol.connectionLost(reason)
