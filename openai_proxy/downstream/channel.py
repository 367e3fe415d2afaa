"""The downstream HTTP/1.1 connection.

Order of pipelined requests, every timer towards the client, and both
directions' back-pressure at the client's socket. Bytes become requests in
`request_reader.py`. Knows nothing of the API: whole heads go to `request.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from ..exchange.client_address import Peer
from ..exchange.errors import MethodNotAllowed, ProxyError, RequestTimeout, ShuttingDown
from ..net.sockets import bottom, cut, has_unread, is_gone, untaken_bytes
from ..wire.request_line import TLS_ON_A_PLAIN_PORT
from .client_clocks import (
    BETWEEN_REQUESTS,
    BODY,
    BODY_CHECK_S,
    CLOSE,
    GONE,
    HEAD,
    LINGER,
    LINGER_IDLE_S,
    NEVER,
    NEXT,
    RESPONSE,
    TUNNEL,
    BodyRate,
    Linger,
    Waiting,
    WriteStall,
)
from .request_reader import DownstreamLimits, IncomingRequest, RequestReader

if TYPE_CHECKING:
    from .request import DownstreamRequest
    from .site import ProxySite

READ_AHEAD_BYTES = 16384
"""Bytes of further requests that are kept unread while one is answered."""
UNREAD_GRACE_S = 1.0
"""How long an idle connection stays open whose next request the kernel has, unread."""
DRAIN_GRACE_S = 1.0
"""What a connection gets in a drain that nobody waits for an answer on."""


@implementer(IPushProducer)
class ProxyChannel(HTTPChannel):
    """One client's connection.

    Requests are answered in order, one at a time. While one is answered the
    socket is still read, so that a client that leaves is noticed; what
    arrives beyond the current request is kept unparsed, up to
    READ_AHEAD_BYTES, then reading pauses.
    """

    site: ProxySite
    transport: Any  # what it is depends on the endpoint: TCP, TLS, Unix, a wrapper
    refusal: ProxyError | None = None
    """Set for a connection over the limit: the answer to whatever it asks."""
    peer: Peer | None = None
    """Who is at the other end; known from the first request on."""
    _body_rate: BodyRate | None = None
    """While a request's body arrives."""
    _stall: WriteStall | None = None
    """While something written waits to be taken."""
    _lingering: Linger | None = None

    def __init__(self, limits: DownstreamLimits, pseudonym: bytes, clock: Callable[[], float]) -> None:
        super().__init__()
        self.limits = limits
        self.clock = clock
        self.waiting = HEAD
        self.deadline = NEVER
        self.stall_check = NEVER
        self.tunnel: Any = None
        self.relay: Any = None
        self.current: DownstreamRequest | None = None
        self._reader = RequestReader(self, limits, pseudonym)
        self._ahead = b""
        self._starting = False
        self._body_held = self.reading_paused = False
        self.write_blocked = False

    @property
    def busy(self) -> bool:
        """Whether somebody would notice if this connection were cut now."""
        return self.current is not None or self.tunnel is not None or bool(self._reader.queue)

    # ---- the connection

    def connectionMade(self) -> None:
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        self.site.adopt(transport)
        self.write = transport.write  # type: ignore[method-assign]
        transport.registerProducer(self, True)
        self.site.opened(self)
        self._wait(HEAD, self.limits.header_timeout_s)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        if reason.type is SSL.Error:
            self.site.wrong_scheme.tell_lost(reason, self.transport.getPeer())
        self.waiting = GONE
        self.deadline = self.stall_check = NEVER
        self.site.closed(self)
        self._ahead = b""
        self.relay = None
        tunnel, self.tunnel = self.tunnel, None
        if tunnel is not None:
            tunnel.downstream_lost(reason)
        current, self.current = self.current, None
        if current is not None:
            current.connectionLost(reason)
        # These hold us or our transport: do not leave the cycles to the collector.
        self._reader.close()
        self.write = None  # type: ignore[method-assign,assignment]

    def _wait(self, what: Waiting, seconds: float | None = None) -> None:
        self.waiting = what
        self.deadline = NEVER if seconds is None else self.clock() + seconds

    # ---- bytes from the client

    def dataReceived(self, data: bytes) -> None:
        waiting = self.waiting
        if waiting is NEXT or waiting is HEAD:
            if self._reader.broken is None:
                self._parse(data)
        elif self.tunnel is not None:
            self.tunnel.from_client(data)
        elif waiting is LINGER:
            self._discard(len(data))
        elif waiting is CLOSE or waiting is GONE:
            return
        elif self._answering():
            self._keep_for_later(data)
        else:
            self._parse(data)

    def _answering(self) -> bool:
        """True from a whole request to the end of its answer, taken by the client: nothing further is parsed."""
        reader = self._reader
        return reader.broken is not None or (self.waiting is RESPONSE and reader.receiving is None)

    def _keep_for_later(self, data: bytes) -> None:
        if self._reader.broken is not None or (self.current is not None and not self.current.keep_alive):
            return  # nothing behind this request will be answered
        self._ahead += data
        if len(self._ahead) > READ_AHEAD_BYTES:
            self._update_reading()

    def _parse(self, data: bytes) -> None:
        reader = self._reader
        if self.waiting is NEXT and reader.receiving is None:
            self._wait(HEAD, self.limits.header_timeout_s)
        reader.feed(data)
        if reader.behind_upgrade:
            self._ahead += reader.behind_upgrade  # the tunnel's first bytes, if there will be one
            reader.behind_upgrade = b""
        self._pump()

    # ---- requests, in order

    def _pump(self) -> None:
        """Act on what the reader noted: bodies, the next request, a broken one."""
        reader = self._reader
        current = self.current
        if reader.body_parts:
            parts, reader.body_parts = reader.body_parts, []
            if current is not None:
                current.incoming.body.feed(parts[0] if len(parts) == 1 else b"".join(parts))
        if reader.body_ended:
            reader.body_ended = False
            if self.waiting is BODY:
                self._wait(RESPONSE)
            if self.current is not None:
                self.current.incoming.body.end()
        if reader.broken is not None and self.current is not None:
            incoming = self.current.incoming
            if incoming is reader.receiving:
                incoming.body.fail(reader.broken)
        if self.current is None:
            self._next()

    def _next(self) -> None:
        """Start the next request, or wait for one."""
        if self._starting:
            return  # answered at once, inside the loop below: a pipeline must not become a recursion
        self._starting = True
        reader = self._reader
        try:
            while self.current is None and not self.write_blocked and self.waiting in BETWEEN_REQUESTS:
                if reader.queue:
                    self._start(reader.queue.popleft())
                elif reader.broken is not None:
                    self._refuse_broken(reader.broken)
                else:
                    return
        finally:
            self._starting = False

    def _start(self, incoming: IncomingRequest) -> None:
        reader = self._reader
        arriving = incoming is reader.receiving
        if arriving:
            reader.active = incoming
            self._wait_for_body()
        else:
            self._wait(RESPONSE)
        self.current = request = self.site.make_request(self, incoming)
        refusal = self.refusal or (reader.broken if arriving else None)
        if refusal is not None:
            request.refuse(refusal)
        else:
            request.process()

    def _refuse_broken(self, error: ProxyError) -> None:
        self._wait(RESPONSE)
        self.current = request = self.site.make_request(self, self._reader.broken_request())
        if error.message is TLS_ON_A_PLAIN_PORT:
            self.site.wrong_scheme.tell_tls_on_plain_port(self.transport.getPeer())
        if isinstance(error, MethodNotAllowed):
            request.process()  # its target is known: whatever is there says which methods it takes
        else:
            request.refuse(error)

    def request_done(self, keep_alive: bool) -> None:
        """The current request is answered: go on with the next, or close."""
        current, self.current = self.current, None
        self.relay = None
        if self.waiting is GONE or current is None:
            return
        if not current.incoming.body.complete:
            # The client still sends what nobody wants: let it read the answer first.
            current.incoming.body.stopProducing()
            self.linger()
        elif not keep_alive:
            self.close()
        elif self.write_blocked:
            self._wait(RESPONSE)  # `resumeProducing` goes on
        else:
            self._resume_parsing()

    def _resume_parsing(self) -> None:
        reader = self._reader
        if reader.inside_message:
            self._wait(HEAD, self.limits.header_timeout_s)
        else:
            self._wait(NEXT, self.limits.keep_alive_s)
        if reader.queue or reader.broken is not None:
            self._next()
        elif self._ahead:
            data = self.take_ahead()
            self._update_reading()
            self._parse(data)

    def take_ahead(self) -> bytes:
        """Return, and forget, what was read behind the current request."""
        data, self._ahead = self._ahead, b""
        return data

    def enter_tunnel(self, tunnel: Any) -> bytes:
        """Speak no HTTP any more: bytes go to `tunnel`. Returns those already read."""
        self.tunnel = tunnel
        self._wait(TUNNEL)
        data = self.take_ahead()
        self._update_reading()
        return data

    def close_if_idle(self) -> None:
        """For the drain: close where no request has begun; what is still taken of an answer goes out.

        Half a head gets a second to become whole, and a refused upload to end: nobody waits for them longer.
        """
        if self.current is not None:
            return
        begun = self._reader.head_bytes or self._reader.inside_message
        if self.waiting is LINGER or (begun and self.waiting is HEAD):
            self.deadline = min(self.deadline, self.clock() + DRAIN_GRACE_S)
        elif self.waiting in BETWEEN_REQUESTS and has_unread(self.transport):
            self.deadline = min(self.deadline, self.clock() + DRAIN_GRACE_S)  # it will be told that we stop
        elif not self._reader.head_bytes and (self.waiting in BETWEEN_REQUESTS or self.waiting is RESPONSE):
            self.close()

    # ---- the body's clock and back-pressure (BodySource)

    def _wait_for_body(self) -> None:
        now = self.clock()
        self._body_rate = BodyRate(self.limits.body_min_bytes_per_s, now)
        self.waiting = BODY
        self.deadline = now + BODY_CHECK_S

    def hold_body(self) -> None:
        self._body_held = True
        self._update_reading()

    def release_body(self) -> None:
        if self._body_held:
            self._body_held = False
            if self._body_rate is not None:
                self._body_rate.let_go(self.clock())
            self._update_reading()

    def want_body(self) -> None:
        current = self.current
        if current is not None and current.incoming.head.expects_continue and not current.continued:
            current.continued = True
            if not current.incoming.body.received and not current.started_writing:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _update_reading(self) -> None:
        paused = self._body_held or len(self._ahead) > READ_AHEAD_BYTES
        if paused is not self.reading_paused and self.waiting is not GONE:
            self.reading_paused = paused
            if paused:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    # ---- the response's back-pressure: the transport's producer

    def pauseProducing(self) -> None:
        self.write_blocked = True
        self._start_stall_clock()
        if self.relay is not None:
            self.relay.pauseProducing()

    def resumeProducing(self) -> None:
        self.write_blocked = False
        self.stall_check = NEVER
        if self.relay is not None:
            self.relay.resumeProducing()
        elif self.current is None and self.tunnel is None:
            if self.waiting is RESPONSE:
                self._resume_parsing()
            else:
                self._next()

    def stopProducing(self) -> None:
        """The transport is lost; connectionLost says so too."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """For ordinary Resources: pause and resume `producer` with the socket."""
        self.relay = producer

    def unregisterProducer(self) -> None:
        self.relay = None

    def _start_stall_clock(self) -> None:
        now = self.clock()
        self._stall = stall = WriteStall(self.limits.write_stall_s, untaken_bytes(self.transport), now)
        self.stall_check = stall.next_check(now)

    # ---- time

    def sweep(self, now: float) -> None:
        """Called by the site's sweeper once `deadline` or `stall_check` has passed, or while reading is paused."""
        # A half-close counts as leaving, as it does while we read; in a tunnel what came before it goes first.
        if self.reading_paused and is_gone(self.transport, half_close=self.tunnel is None):
            cut(self.transport)
            return
        if self.stall_check <= now:
            self._check_stall(now)
        if self.deadline > now:
            return
        waiting = self.waiting
        if waiting is BODY:
            self._check_body_rate(now)
        elif waiting is LINGER:
            cut(self.transport)
        elif waiting is HEAD and (self._reader.head_bytes or self._reader.inside_message):
            if has_unread(self.transport):
                self.deadline = now + UNREAD_GRACE_S  # the rest may be there: it is we who are late
                return
            self._reader.broken = ShuttingDown() if self.site.draining else RequestTimeout()
            self._pump()
        elif waiting in BETWEEN_REQUESTS:
            if has_unread(self.transport):
                self.deadline = now + UNREAD_GRACE_S  # a request has arrived: our close would take it away
            else:
                self.close()
        else:
            self.deadline = NEVER

    def _check_body_rate(self, now: float) -> None:
        current, rate = self.current, self._body_rate
        self.deadline = now + BODY_CHECK_S
        if current is None or rate is None:
            return
        body = current.incoming.body
        slow = rate.is_too_slow(body.received, self._holds_client_back(current), now, body.kept)
        # where bytes wait to be read, the process did not run for a while, and the client is not slow
        if slow and not has_unread(self.transport):
            self._reader.broken = RequestTimeout()
            self._wait(RESPONSE)
            body.fail(self._reader.broken)

    def _holds_client_back(self, current: DownstreamRequest) -> bool:
        """Whether the body does not come because we do not read it, or have not said 100 Continue."""
        incoming = current.incoming
        return self._body_held or (
            incoming.head.expects_continue and not current.continued and not incoming.body.received
        )

    def _check_stall(self, now: float) -> None:
        stall = self._stall
        if stall is None or stall.is_over(untaken_bytes(self.transport), now):
            cut(self.transport)
        else:
            self.stall_check = stall.next_check(now)

    # ---- the end of the connection

    def close(self) -> None:
        """Close once everything written is taken; abort when it never is."""
        if self.waiting in (GONE, CLOSE):
            return
        self._wait(CLOSE)
        self._start_stall_clock()
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        if self.isSecure():
            # Twisted waits for the client's close_notify; RFC 8446 §6.1 does not, and pools of clients never send it.
            below = bottom(self.transport)
            if below is not None:
                below.loseConnection()

    def linger(self) -> None:
        """Half-close, and discard what still comes for a while.

        A close with unread bytes would reset the connection and could take
        the answer away from a client that is still sending (RFC 9112 §9.6).
        """
        if self.waiting is GONE:
            return
        now = self.clock()
        self._lingering = Linger(now)
        self.waiting = LINGER
        self.deadline = now + (DRAIN_GRACE_S if self.site.draining else LINGER_IDLE_S)
        self._start_stall_clock()
        self._body_held = False
        self._ahead = b""
        self._update_reading()
        self.transport.unregisterProducer()
        if ITCPTransport.providedBy(self.transport) and not self.isSecure():
            self.transport.loseWriteConnection()

    def _discard(self, size_bytes: int) -> None:
        lingering = self._lingering
        until = lingering.read(size_bytes, self.clock()) if lingering is not None else None
        if until is None:
            cut(self.transport)
        else:
            self.deadline = until

    def abort_when_flushed(self) -> None:
        """Break off so that nobody takes it for an end: everything written, then a reset."""
        if self.waiting is GONE:
            return
        if self.waiting is not CLOSE:
            self._wait(CLOSE)
            self._start_stall_clock()
            self.transport.unregisterProducer()
        if untaken_bytes(self.transport):
            self.site.call_later(0.01, self.abort_when_flushed)
        else:
            cut(self.transport)

    def loseConnection(self) -> None:
        self.close()

    def requestDone(self, request: Any) -> None:
        """twisted.web's word for `request_done`, called by ordinary Resources' requests."""
        self.request_done(request.keep_alive)
