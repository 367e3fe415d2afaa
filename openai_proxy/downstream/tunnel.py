"""Pass a WebSocket's bytes in both directions, once the upstream has answered 101.

Nothing is parsed here; if turns are read, a conversation stands between
the two ends. The back-pressure of both directions is in this file: each
side's transport pauses reading from the other side.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from zope.interface import implementer

from ..exchange.buffered_bytes import Lease
from ..exchange.messages import ProxyResponse
from ..exchange.outcome import Outcome
from ..net.sockets import cut, keep_alive
from ..wire.render import header_lines, response_head
from ..wire.websocket_frames import POLICY_VIOLATION, FrameEnds, close_frame
from .closing import linger
from .contract import Connection, Downstream
from .conversation import Conversation

_FULL = "full"
"""A reason to stop reading from one end: the transport of the other end is full."""
KEEP_ALIVE_S = 30
"""After this much silence, the kernel checks whether each peer is still there."""
FRAME_S = 0.3
"""The time for the current frame to come whole, when the operator cancels."""


@implementer(IPushProducer)
class Tunnel:
    """One tunnel: the client's channel on one side, the upstream's body on the other.

    As the channel's producer it is paused by the client's transport; as the
    upstream transport's producer it is a `_ClientReader`. Ends once, with
    both connections. `conversation` reads the turns if the exchange says so.
    """

    def __init__(self, request: Downstream, channel: Connection, response: ProxyResponse) -> None:
        self._request = request
        self._response = response
        self._channel = channel
        self._upstream: Any = None
        self._frames = FrameEnds()
        self._cancelled = False
        self._ended = False
        self._client_pauses: set[str] = set()
        self._upstream_pauses: set[str] = set()
        self._untaken: list[Lease] = []
        """The leases of what was written to the upstream and waits in its transport."""
        self._clock = channel.clock
        self._active_at = self._clock()
        self._idle_timer: Any = None
        exchange = request.exchange
        self.conversation: Conversation | None = None
        if exchange.inspection is not None:
            self.conversation = Conversation(self, exchange, request.incoming.head.forward, channel.site)

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
        if channel.site.draining:
            self.drain()

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
        self._free_untaken()
        self._request.end_exchange(outcome)

    # ---- the operator stops it

    def cancel(self) -> None:
        """Wait until the current frame is whole, close the client's side with 1008, and cut both connections."""
        if self._ended or self._cancelled:
            return
        self._cancelled = True
        if self.conversation is not None:
            self.conversation.cancel()
            self._channel.site.call_later(FRAME_S, self._cut_short)
        elif self._frames.at_end:
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
        """End the tunnel: the upstream's connection is cut; the caller ends the client's."""
        if self.conversation is not None:
            self.conversation.lost(outcome)
        self._end(outcome)
        self._response.body.discard()
        self._channel.tunnel = None

    # ---- from the upstream (IProtocol)

    def makeConnection(self, transport: Any) -> None:
        self._upstream = transport
        watch = getattr(transport, "keep_alive", None)
        if watch is not None:
            watch(KEEP_ALIVE_S)
        transport.registerProducer(_ClientReader(self), True)

    def dataReceived(self, data: bytes) -> None:
        conversation = self.conversation
        if conversation is not None:
            if not self._ended:
                self._active_at = self._clock()
                self._request.exchange.response_bytes += len(data)
                conversation.from_upstream(data)
            return
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
        if self.conversation is not None:
            self.conversation.lost(Outcome.UPSTREAM_TRUNCATED)
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
        if self.conversation is None:
            self._upstream.write(data)
        else:
            self.conversation.from_client(data)

    def downstream_lost(self, reason: Failure) -> None:
        """End the tunnel, because the client's connection is lost; after a clean end, the upstream still gets all data."""
        if self._ended:
            return
        if self.conversation is not None:
            self.conversation.lost(Outcome.CLIENT_GONE)
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

    # ---- what a conversation asks of both ends

    def to_upstream(self, data: bytes, lease: Lease | None = None) -> None:
        """Write to the upstream; `lease` is freed once its transport has sent the data."""
        if self._upstream is not None and not self._ended:
            self._upstream.write(data)
        if lease is not None:
            if _FULL in self._client_pauses:
                self._untaken.append(lease)
            else:
                lease.free()

    def to_client(self, data: bytes) -> None:
        """Write to the client."""
        if not self._ended:
            self._channel.write(data)

    def finish(self, outcome: Outcome, *, broken: bool = False) -> None:
        """End both connections; `broken`: by a reset of the client's, so that it does not look like a normal end."""
        if self._ended:
            return
        self._end(outcome)
        upstream, channel = self._upstream, self._channel
        if upstream is None:
            self._response.body.discard()
        else:
            upstream.unregisterProducer()
            upstream.loseConnection()
        channel.tunnel = None
        if broken:
            channel.abort_when_flushed()
        else:
            linger(channel)

    def drain(self) -> None:
        """End between two turns, if they are read, because the daemon stops."""
        if self.conversation is not None:
            self.conversation.go_away()

    # ---- reasons not to read from one end

    def pause_client(self, reason: str) -> None:
        """Stop reading from the client, until no reason is left."""
        self._client_pauses.add(reason)
        self._channel.hold_body()

    def resume_client(self, reason: str) -> None:
        """Read from the client again if this was the last reason."""
        if reason in self._client_pauses:
            self._client_pauses.discard(reason)
            if reason == _FULL:
                self._free_untaken()
            if not self._client_pauses:
                self._channel.release_body()

    def pause_upstream(self, reason: str) -> None:
        """Stop reading from the upstream, until no reason is left."""
        self._upstream_pauses.add(reason)
        if self._upstream is not None and not self._ended:
            self._upstream.pauseProducing()

    def resume_upstream(self, reason: str) -> None:
        """Read from the upstream again if this was the last reason."""
        self._upstream_pauses.discard(reason)
        if self._upstream is not None and not self._ended and not self._upstream_pauses:
            self._upstream.resumeProducing()

    def _free_untaken(self) -> None:
        untaken, self._untaken = self._untaken, []
        for lease in untaken:
            lease.free()

    # ---- the client's transport is full, or free again

    def pauseProducing(self) -> None:
        self.pause_upstream(_FULL)

    def resumeProducing(self) -> None:
        self.resume_upstream(_FULL)

    def stopProducing(self) -> None:
        """Do nothing: `downstream_lost` is called as well when the client's transport is lost."""


@implementer(IPushProducer)
class _ClientReader:
    """Pauses reading from the client while the upstream's transport is full."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    def pauseProducing(self) -> None:
        self._tunnel.pause_client(_FULL)

    def resumeProducing(self) -> None:
        self._tunnel.resume_client(_FULL)

    def stopProducing(self) -> None:
        """Do nothing: when the upstream's transport is lost, the tunnel is notified by the end of the body."""
