"""A WebSocket's bytes, both ways, once the upstream has said 101.

Nothing is parsed here. Back-pressure for both directions stands in this
file: each side's transport pauses the other's reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from zope.interface import implementer

from ..core.exchange import Outcome
from ..messages import ProxyResponse

if TYPE_CHECKING:
    from .request import DownstreamRequest


@implementer(IPushProducer)
class Tunnel:
    """One tunnel: the client's channel on one side, the upstream's body on the other.

    As `channel.relay` it is paused by the client's transport; as the
    upstream transport's producer it is a `_ClientReader`. Ends once, with
    both connections.
    """

    def __init__(self, request: DownstreamRequest, response: ProxyResponse) -> None:
        self._request = request
        self._response = response
        self._channel: Any = request.channel
        self._upstream: Any = None
        self._ended = False

    def start(self) -> None:
        """Relay the 101 and join the two connections."""
        response = self._response
        lines = b"".join([b"%b: %b\r\n" % pair for pair in response.headers])
        channel = self._channel
        channel.write(b"HTTP/1.1 101 %b\r\n%b\r\n" % (response.reason, lines))
        early = channel.enter_tunnel(self)
        channel.relay = self
        response.body.deliverBody(self)  # type: ignore[arg-type]  # quacks as IProtocol
        if early and not self._ended:
            self.from_client(early)

    # ---- from the upstream (IProtocol)

    def makeConnection(self, transport: Any) -> None:
        self._upstream = transport
        transport.registerProducer(_ClientReader(self._channel), True)

    def dataReceived(self, data: bytes) -> None:
        self._request.exchange.response_bytes += len(data)
        self._channel.write(data)

    def connectionLost(self, reason: Failure) -> None:
        if self._ended:
            return
        self._ended = True
        channel = self._channel
        channel.tunnel = None
        if reason.check(ConnectionDone, ResponseDone):
            self._request.end_exchange(Outcome.COMPLETE)
            channel.close()
        else:
            self._request.end_exchange(Outcome.UPSTREAM_TRUNCATED)
            channel.abort_when_flushed()

    # ---- from the client

    def from_client(self, data: bytes) -> None:
        self._request.exchange.request_bytes += len(data)
        self._upstream.write(data)

    def downstream_lost(self, reason: Failure) -> None:
        """The client's connection is lost: what it sent still goes up, then the upstream's ends too."""
        if self._ended:
            return
        self._ended = True
        clean = reason.check(ConnectionDone) is not None
        self._request.end_exchange(Outcome.COMPLETE if clean else Outcome.CLIENT_GONE)
        upstream = self._upstream
        if upstream is None:
            self._response.body.discard()
        elif clean:
            upstream.unregisterProducer()
            upstream.loseConnection()
        else:
            self._response.body.discard()

    # ---- the client's transport is full, or free again

    def pauseProducing(self) -> None:
        if self._upstream is not None and not self._ended:
            self._upstream.pauseProducing()

    def resumeProducing(self) -> None:
        if self._upstream is not None and not self._ended:
            self._upstream.resumeProducing()

    def stopProducing(self) -> None:
        """The client's transport is lost; downstream_lost says so too."""


@implementer(IPushProducer)
class _ClientReader:
    """Pauses reading from the client while the upstream's transport is full."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def pauseProducing(self) -> None:
        self._channel.hold_body()

    def resumeProducing(self) -> None:
        self._channel.release_body()

    def stopProducing(self) -> None:
        """The upstream's transport is lost; the tunnel hears of it as a body that ends."""
