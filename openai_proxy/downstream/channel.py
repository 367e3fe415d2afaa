"""The downstream HTTP/1.1 connection: reading, the order of requests, and back-pressure.

Bytes become requests in `request_reader.py`. What the connection waits for,
and until when, is the table in `client_clocks.py`; `sweep.py` looks at the
clocks, `closing.py` ends the connection. Knows nothing of the API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from ..exchange.attribute_names import share_names
from ..exchange.client_address import Peer
from ..exchange.errors import MethodNotAllowed, ProxyError
from ..net.sockets import untaken_bytes
from ..net.tls_failures import is_tls_failure
from ..wire.request_line import TLS_ON_A_PLAIN_PORT
from . import closing
from .body import IncomingBody
from .client_clocks import (
    ANSWER,
    ANSWERED,
    BEGIN,
    BETWEEN_REQUESTS,
    BLOCKED,
    BODY_END,
    ENDED,
    FLUSH,
    IDLE,
    LINGER,
    LOSE,
    LOST,
    START,
    TAKEN,
    TUNNEL,
    UPGRADE,
    UPLOAD,
    ClientClocks,
    Event,
)
from .contract import ConnectionSite, CurrentRequest, DownstreamLimits, IncomingRequest
from .request_reader import RequestReader

READ_AHEAD_BYTES = 16384
"""Bytes of further requests that are kept unread while one is answered."""


@implementer(IPushProducer)
class ProxyChannel(HTTPChannel):
    """One client's connection.

    Requests are answered in order, one at a time. While one is answered the
    socket is still read, so that a client that leaves is noticed; what
    arrives beyond the current request is kept unparsed, up to
    READ_AHEAD_BYTES, then reading pauses.
    """

    site: ConnectionSite
    transport: Any  # what it is depends on the endpoint: TCP, TLS, Unix, a wrapper
    refusal: ProxyError | None = None
    """Set for a connection over the limit: the answer to whatever it asks."""
    peer: Peer | None = None
    """Who is at the other end; known from the first request on."""

    def __init__(self, limits: DownstreamLimits, pseudonym: bytes, clock: Callable[[], float]) -> None:
        # Not super().__init__: the lists and the decoder that it makes are for a parser that is not used here.
        self.clock = clock
        self.clocks = ClientClocks(limits, clock())
        self.tunnel: Any = None
        self.relay: Any = None
        self.current: CurrentRequest | None = None
        self.reader = RequestReader(self, limits, pseudonym)
        self._ahead = b""
        self._starting = False
        self._body_held = self.reading_paused = False
        self.write_blocked = False

    @property
    def busy(self) -> bool:
        """Whether somebody would notice if this connection were cut now."""
        return self.current is not None or self.tunnel is not None or bool(self.reader.queue)

    def cancel_for(self, key: str, error: ProxyError) -> None:
        """Stop the exchange that is under way if it is one of the client key of that name."""
        current = self.current
        if current is not None and current.exchange.key == key:
            current.cancel(error)

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

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        if is_tls_failure(reason):
            self.site.wrong_scheme.tell_lost(reason, self.transport.getPeer())
        self.clocks.move(LOSE, self.clock())
        self.clocks.stop_stall()
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
        self.reader.close()
        self.write = None  # type: ignore[method-assign,assignment]

    # ---- bytes from the client

    def dataReceived(self, data: bytes) -> None:
        state = self.clocks.state
        if state in ENDED:
            return
        if state is LINGER:
            closing.drop(self, len(data))
        elif state is TUNNEL:
            if self.tunnel is not None:
                self.tunnel.from_client(data)
        elif self.reader.broken is not None:
            return  # nothing is read any more
        elif self.reader.receiving is None and (state is ANSWER or state is FLUSH):
            self._keep_for_later(data)  # nothing further is parsed until the client has taken the answer
        else:
            self._parse(data)

    def _keep_for_later(self, data: bytes) -> None:
        if self.current is not None and not self.current.keep_alive:
            return  # nothing after this request will be answered
        self._ahead += data
        if len(self._ahead) > READ_AHEAD_BYTES:
            self._update_reading()

    def _parse(self, data: bytes) -> None:
        reader = self.reader
        reader.feed(data)
        if self.clocks.state is IDLE and not reader.queue:
            self.clocks.move(BEGIN, self.clock())
        if reader.behind_upgrade:
            self._ahead += reader.behind_upgrade  # the tunnel's first bytes, if there will be one
            reader.behind_upgrade = b""
        self._pump()

    # ---- requests, in order

    def _pump(self) -> None:
        """Act on what the reader noted: bodies, the next request, a broken one."""
        reader = self.reader
        if reader.body_parts:
            parts, reader.body_parts = reader.body_parts, []
            body = self._arriving_body
            if body is not None:
                body.feed(parts[0] if len(parts) == 1 else b"".join(parts))
        if reader.body_ended:
            reader.body_ended = False
            body = self._arriving_body
            if body is not None:
                self.clocks.move(BODY_END, self.clock())
                body.end()
        if reader.broken is not None and self.current is not None:
            incoming = self.current.incoming
            if incoming is reader.receiving:
                incoming.body.fail(reader.broken)
        if self.current is None:
            self._next()

    @property
    def _arriving_body(self) -> IncomingBody | None:
        """The body of the current request, unless it was there with its head."""
        body = self.current.incoming.body if self.current is not None else None
        return body if isinstance(body, IncomingBody) else None

    def _next(self) -> None:
        """Start the next request, or wait for one."""
        if self._starting:
            return  # answered at once, inside the loop below: a pipeline must not become a recursion
        self._starting = True
        reader = self.reader
        try:
            while self.current is None and not self.write_blocked and self.clocks.state in BETWEEN_REQUESTS:
                if reader.queue:
                    self._start(reader.queue.pop(0))
                elif reader.broken is not None:
                    self._refuse_broken(reader.broken)
                else:
                    return
        finally:
            self._starting = False

    def _start(self, incoming: IncomingRequest) -> None:
        reader = self.reader
        arriving = incoming is reader.receiving
        if arriving:
            reader.active = incoming
        self.clocks.move(UPLOAD if arriving else START, self.clock())
        self.current = request = self.site.make_request(self, incoming)
        refusal = self.refusal or (reader.broken if arriving else None)
        if refusal is not None:
            request.refuse(refusal)
        else:
            request.process()

    def _refuse_broken(self, error: ProxyError) -> None:
        self.clocks.move(START, self.clock())
        self.current = request = self.site.make_request(self, self.reader.broken_request())
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
        if current is None or self.clocks.state in ENDED:
            return
        if not current.incoming.body.complete:
            # The client still sends what nobody wants: let it read the answer first.
            current.incoming.body.stopProducing()
            closing.linger(self)
        elif not keep_alive:
            closing.close(self)
        elif self.write_blocked:
            self.clocks.move(BLOCKED, self.clock())  # `resumeProducing` goes on
        else:
            self._go_on(ANSWERED)

    def _go_on(self, event: Event) -> None:
        """The client has its answer: parse what it has sent meanwhile."""
        reader = self.reader
        self.clocks.move(event, self.clock())
        if reader.inside_message:
            self.clocks.move(BEGIN, self.clock())
        if reader.queue or reader.broken is not None:
            self._next()
        elif self._ahead:
            data = self.take_ahead()
            self._update_reading()
            self._parse(data)

    def stop_reading(self, error: ProxyError) -> None:
        """Read no further request; `error` is the answer to the one that is arriving."""
        self.reader.broken = error
        self._pump()

    def take_ahead(self) -> bytes:
        """Return, and forget, what was read after the current request."""
        data, self._ahead = self._ahead, b""
        return data

    def enter_tunnel(self, tunnel: Any) -> bytes:
        """Speak no HTTP any more: bytes go to `tunnel`. Returns those already read."""
        self.tunnel = tunnel
        self.clocks.move(UPGRADE, self.clock())
        data = self.take_ahead()
        self._update_reading()
        return data

    # ---- the body's back-pressure (BodySource)

    def hold_body(self) -> None:
        self._body_held = True
        self._update_reading()

    def release_body(self) -> None:
        if self._body_held:
            self._body_held = False
            if self.clocks.rate is not None:
                self.clocks.rate.let_go(self.clock())
            self._update_reading()

    def want_body(self) -> None:
        current = self.current
        if current is not None and current.incoming.head.expects_continue and not current.continued:
            current.continued = True
            if not current.incoming.body.received and not current.started_writing:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    @property
    def holds_client_back(self) -> bool:
        """Whether the body does not come because we do not read it, or have not said 100 Continue."""
        if self._body_held or self.current is None:
            return self._body_held
        incoming = self.current.incoming
        return incoming.head.expects_continue and not self.current.continued and not incoming.body.received

    def drop_unread(self) -> None:
        """Forget what was read and not parsed, and read on."""
        self._body_held = False
        self._ahead = b""
        self._update_reading()

    def _update_reading(self) -> None:
        paused = self._body_held or len(self._ahead) > READ_AHEAD_BYTES
        if paused is not self.reading_paused and self.clocks.state is not LOST:
            self.reading_paused = paused
            if paused:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    # ---- the response's back-pressure: the transport's producer

    def pauseProducing(self) -> None:
        self.write_blocked = True
        self.clocks.start_stall(untaken_bytes(self.transport), self.clock())
        if self.relay is not None:
            self.relay.pauseProducing()

    def resumeProducing(self) -> None:
        self.write_blocked = False
        self.clocks.stop_stall()
        if self.relay is not None:
            self.relay.resumeProducing()
        elif self.current is None and self.tunnel is None:
            if self.clocks.state is FLUSH:
                self._go_on(TAKEN)
            else:
                self._next()

    def stopProducing(self) -> None:
        """The transport is lost; connectionLost says so too."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause and resume what writes the answer, or a tunnel, with the client's transport."""
        self.relay = producer

    def unregisterProducer(self) -> None:
        self.relay = None

    # ---- the end

    def close(self) -> None:
        closing.close(self)

    def abort_when_flushed(self) -> None:
        closing.abort_when_flushed(self)

    def loseConnection(self) -> None:
        closing.close(self)

    def requestDone(self, request: Any) -> None:
        """twisted.web's word for `request_done`, called by ordinary Resources' requests."""
        self.request_done(request.keep_alive)


share_names(
    ProxyChannel,
    """site factory transport connected clock clocks tunnel relay current reader peer write write_blocked
    reading_paused _ahead _starting _body_held""",
)
