"""A WebSocket's bytes, both ways, once the upstream has said 101.

Nothing is parsed here. Back-pressure for both directions stands in this
file: each side's transport pauses the other's reading.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from zope.interface import implementer

from ..exchange.messages import ProxyResponse
from ..exchange.record import Outcome
from ..net.sockets import cut, keep_alive
from ..wire.render import header_lines, response_head
from ..wire.websocket_frames import POLICY_VIOLATION, FrameEnds, close_frame
from .contract import Connection, Downstream

KEEP_ALIVE_S = 30
"""After that much silence the kernel asks either end whether it is there."""
FRAME_S = 0.3
"""How long the frame that was coming when the operator cancelled may take to come whole."""


@implementer(IPushProducer)
class Tunnel:
    """One tunnel: the client's channel on one side, the upstream's body on the other.

    As the channel's producer it is paused by the client's transport; as the
    upstream transport's producer it is a `_ClientReader`. Ends once, with
    both connections.
    """

    def __init__(self, request: Downstream, channel: Connection, response: ProxyResponse) -> None:
        self._request = request
        self._response = response
        self._channel = channel
        self._upstream: Any = None
        self._frames = FrameEnds()
        self._cancelled = False
        self._ended = False
        self._clock = channel.clock
        self._active_at = self._clock()
        self._idle_timer: Any = None

    def start(self) -> None:
        """Relay the 101 and join the two connections."""
        response = self._response
        channel = self._channel
        channel.write(response_head(101, response.reason, header_lines(response.headers)))
        early = channel.enter_tunnel(self)
        channel.registerProducer(self, True)
        response.body.deliverBody(self)  # type: ignore[arg-type]  # quacks as IProtocol
        keep_alive(channel.transport, KEEP_ALIVE_S)
        if early and not self._ended:
            self.from_client(early)
        self._watch_idleness()

    # ---- silence

    def _watch_idleness(self) -> None:
        """Cut the tunnel once no byte has passed for `websocket.idle_s`, if that is set."""
        idle_s = self._channel.site.websocket_idle_s
        if idle_s is None or self._ended:
            return
        left_s = self._active_at + idle_s - self._clock()
        if left_s > 0:
            self._idle_timer = self._channel.site.reactor.callLater(left_s, self._watch_idleness)
            return
        self._over(Outcome.TIMEOUT)
        cut(self._channel.transport)

    def _end(self, outcome: Outcome) -> None:
        self._ended = True
        if self._idle_timer is not None and self._idle_timer.active():
            self._idle_timer.cancel()
        self._request.end_exchange(outcome)

    # ---- the operator stops it

    def cancel(self) -> None:
        """Let the frame that is coming come to its end, say 1008 to the client, and cut both connections."""
        if self._ended or self._cancelled:
            return
        self._cancelled = True
        if self._frames.at_end:
            self._say_cancelled()
        else:
            self._channel.site.call_later(FRAME_S, self._cut_short)

    def _end_frame(self, data: bytes) -> None:
        end = self._frames.feed_one(data)
        self._channel.write(data[:end])
        if self._frames.at_end:
            self._say_cancelled()

    def _cut_short(self) -> None:
        if not self._ended:
            self._over(Outcome.CANCELLED)
            self._channel.abort_when_flushed()

    def _say_cancelled(self) -> None:
        self._over(Outcome.CANCELLED)
        self._channel.write(close_frame(POLICY_VIOLATION, b"cancelled by the operator of openai-proxy"))
        self._channel.close()

    def _over(self, outcome: Outcome) -> None:
        """End it from our side: the upstream's connection is cut, the client's is the caller's to end."""
        self._end(outcome)
        self._response.body.discard()
        self._channel.tunnel = None

    # ---- from the upstream (IProtocol)

    def makeConnection(self, transport: Any) -> None:
        self._upstream = transport
        watch = getattr(transport, "keep_alive", None)
        if watch is not None:
            watch(KEEP_ALIVE_S)
        transport.registerProducer(_ClientReader(self._channel), True)

    def dataReceived(self, data: bytes) -> None:
        if self._cancelled:
            self._end_frame(data)
            return
        self._active_at = self._clock()
        self._frames.feed(data)
        self._request.exchange.response_bytes += len(data)
        self._channel.write(data)

    def connectionLost(self, reason: Failure) -> None:
        if self._ended:
            return
        channel = self._channel
        channel.tunnel = None
        if reason.check(ConnectionDone, ResponseDone):
            self._end(Outcome.COMPLETE)
            channel.close()
        else:
            self._end(Outcome.UPSTREAM_TRUNCATED)
            channel.abort_when_flushed()

    # ---- from the client

    def from_client(self, data: bytes) -> None:
        self._active_at = self._clock()
        self._request.exchange.request_bytes += len(data)
        self._upstream.write(data)

    def downstream_lost(self, reason: Failure) -> None:
        """The client's connection is lost: what it sent still goes up, then the upstream's ends too."""
        if self._ended:
            return
        clean = reason.check(ConnectionDone) is not None
        self._end(Outcome.COMPLETE if clean else Outcome.CLIENT_GONE)
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
