"""A response of the upstream: its head, and its body undelivered.

twisted.web's IResponse, so that treq's functions work on it, with the raw
header lines kept. One per request; fed by the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer

from ..net.sockets import keep_alive
from ..net.twisted_headers import WireHeaders

if TYPE_CHECKING:
    from .connection import UpstreamConnection

DONE = Failure(ResponseDone("Response body fully received"))


class _Nobody:
    """Takes what comes behind the end. In place of whoever took the body, so that both are freed at once."""

    def dataReceived(self, data: bytes) -> None:
        """Nobody listens."""

    def connectionLost(self, reason: Failure) -> None:
        """Nobody listens."""


_NOBODY = _Nobody()


@implementer(IResponse)
class UpstreamResponse:
    """One response.

    States: undelivered (what came is kept, reading is paused), delivering,
    over (ended, broken or discarded). `connection` is None once it is over.
    """

    version = (b"HTTP", 1, 1)
    request: Any = None
    previousResponse: Any = None
    whole: bytes | None = None
    """All of the body where it came with the head: see WholeResponse."""
    _protocol: Any = None
    _end: Failure | None = None

    def __init__(
        self,
        connection: UpstreamConnection | None,
        code: int,
        phrase: bytes,
        pairs: list[tuple[bytes, bytes]],
        body_length: int | None,
    ) -> None:
        self.code = code
        self.phrase = phrase
        self.pairs = pairs
        self.body_length = body_length
        self._connection: UpstreamConnection | None = connection
        self._waiting: list[bytes] = []

    @property
    def length(self) -> int:
        """Bytes of the body, or UNKNOWN_LENGTH, as IResponse has it."""
        return UNKNOWN_LENGTH if self.body_length is None else self.body_length  # type: ignore[return-value]  # a str by design

    @property
    def headers(self) -> WireHeaders:
        return WireHeaders(self.pairs)

    def setPreviousResponse(self, response: Any) -> None:
        self.previousResponse = response

    # ---- towards whoever takes it

    def deliverBody(self, protocol: IProtocol) -> None:
        """Hand over what came and what comes; once."""
        if self._protocol is not None:
            raise RuntimeError("a response body is delivered once")
        self._protocol = protocol
        protocol.makeConnection(self)  # type: ignore[arg-type]  # the producer half of a transport
        waiting, self._waiting = self._waiting, []
        if self._connection is not None:
            self._connection.resume_reading()  # before the first bytes: a pause that they bring about lasts
        if waiting:
            protocol.dataReceived(waiting[0] if len(waiting) == 1 else b"".join(waiting))
        if self._end is not None:
            self._protocol = _NOBODY
            protocol.connectionLost(self._end)

    def discard(self) -> None:
        """Nobody wants the rest: abort the connection if it is still busy with it."""
        connection, self._connection = self._connection, None
        self._waiting.clear()
        if self._protocol is not None:
            self._protocol = _NOBODY
        if connection is not None:
            connection.abort()

    # ---- the transport that deliverBody gives

    def pauseProducing(self) -> None:
        if self._connection is not None:
            self._connection.pause_reading()

    def resumeProducing(self) -> None:
        if self._connection is not None:
            self._connection.resume_reading()

    def stopProducing(self) -> None:
        self.discard()

    loseConnection = abortConnection = stopProducing

    # ---- fed by the connection

    @property
    def taken(self) -> bool:
        return self._protocol is not None

    def body_received(self, data: bytes) -> None:
        if self._protocol is not None:
            self._protocol.dataReceived(data)
        else:
            self._waiting.append(data)

    def body_ended(self, reason: Failure) -> None:
        """The body is over: `reason` is DONE where it is whole."""
        if self._connection is None and reason is not DONE:
            return
        self._connection = None
        self._end = reason
        if self._protocol is not None:
            protocol, self._protocol = self._protocol, _NOBODY
            protocol.connectionLost(reason)


@implementer(IResponse)
class WholeResponse(UpstreamResponse):
    """A response that had ended when it was made: a head without hop-by-hop lines and all of its body.

    Also a ResponseBody, its own: whoever sees `whole` may take it in place
    of delivery.
    """

    whole: bytes
    _connection = None
    _end = DONE

    def __init__(self, code: int, phrase: bytes, pairs: list[tuple[bytes, bytes]], whole: bytes) -> None:
        # Not super().__init__: what only an unfinished response needs is not set.
        self.code = code
        self.phrase = phrase
        self.pairs = pairs
        self.whole = whole

    @property
    def body_length(self) -> int:  # type: ignore[override]  # read-only here
        return len(self.whole)

    length = body_length

    def deliverBody(self, protocol: IProtocol) -> None:
        """Hand over the body and its end; once."""
        if self._protocol is not None:
            raise RuntimeError("a response body is delivered once")
        self._protocol = _NOBODY
        protocol.makeConnection(self)  # type: ignore[arg-type]  # the producer half of a transport
        if self.whole:
            protocol.dataReceived(self.whole)
        protocol.connectionLost(DONE)

    def discard(self) -> None:
        """Nothing is held."""


@implementer(IResponse)
class SwitchedResponse(UpstreamResponse):
    """A 101: its "body" is the other protocol's bytes, and it can be written to."""

    def write(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.tunnel_write(data)

    def keep_alive(self, idle_s: int) -> None:
        """Notice an upstream that vanished; see `sockets.keep_alive`."""
        if self._connection is not None:
            keep_alive(self._connection.transport, idle_s)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._connection is not None:
            self._connection.tunnel_register_producer(producer, streaming)

    def unregisterProducer(self) -> None:
        if self._connection is not None:
            self._connection.tunnel_unregister_producer()

    def loseConnection(self) -> None:
        """Send what was written, then end the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.tunnel_close()
