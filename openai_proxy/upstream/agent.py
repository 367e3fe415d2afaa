"""The upstream agent: IAgent with a pool, deadlines and real aborts.

What it sends is what it is given: no header is added, changed or decoded.
Connections are pooled per origin and credential, last in, first out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer
from zope.interface import implementer

from ..logs import logger
from ..wire_headers import WireHeaders
from .answer_timer import UpstreamTimeouts
from .connection import UpstreamConnection
from .connector import Connecting
from .origin import Origin, parse_origin
from .response import UpstreamResponse
from .tls import ClientTLS

log = logger(__name__)

SWEEP_S = 0.25
IDLE_S = 50.0
"""Shorter than the keep-alive of common servers, so that they seldom close first."""
MAX_IDLE = 1024


@implementer(IAgent)
class UpstreamAgent:
    """Sends requests over pooled connections.

    Between `start` and `stop`. One sweeper looks at every deadline; no
    timer is made per request.
    """

    def __init__(
        self,
        reactor: Any,
        timeouts: UpstreamTimeouts,
        tls: ClientTLS,
        clock: Callable[[], float],
        adopt: Callable[[Any], None] = lambda transport: None,
    ) -> None:
        self._reactor = reactor
        self._timeouts = timeouts
        self._tls = tls
        self._clock = clock
        self.adopt = adopt
        self._origins: dict[bytes, tuple[Origin, bytes]] = {}
        self._idle: dict[Any, list[UpstreamConnection]] = {}
        self._idle_count = 0
        self._busy: set[UpstreamConnection] = set()
        self._connecting: dict[int, Connecting] = {}
        self._stopped = False
        self._sweeper = LoopingCall(self._sweep)
        self._sweeper.clock = reactor

    @property
    def open_connections(self) -> int:
        return self._idle_count + len(self._busy)

    def start(self) -> None:
        self._sweeper.start(SWEEP_S, now=False).addErrback(
            lambda failure: log.failure("the upstream sweeper stopped", failure)
        )

    def stop(self) -> None:
        """Close what is idle; what is busy goes on and is not pooled any more.

        A stage that waits (to try again, for one) may still ask for a
        connection: it gets one, and its deadlines.
        """
        self._stopped = True
        for connections in list(self._idle.values()):
            for connection in list(connections):
                connection.abort()
        if not self._busy and self._sweeper.running:
            self._sweeper.stop()

    def abort(self) -> None:
        """Cut every connection."""
        self.stop()
        for connection in list(self._busy):
            connection.abort()
        if self._sweeper.running:
            self._sweeper.stop()

    # ---- IAgent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[Any]:
        """Send one request; see UpstreamConnection.send for what the Deferred brings.

        `uri` is absolute; everything behind its authority is sent as it is.
        Of WireHeaders the lines are sent as they are, framing included; of
        other Headers the framing follows from `bodyProducer`.
        """
        wire = WireHeaders.of(headers)
        slash = uri.find(b"/", 8)
        pairs = wire.pairs if wire is headers else _framed(wire.pairs, bodyProducer)
        lines = b"".join([b"%b: %b\r\n" % pair for pair in pairs])
        return self.send(
            method,
            uri[:slash],
            uri[slash:],
            lines,
            bodyProducer,
            wire.credential,
            wire.upgrade,
            self._clock(),
        )

    def send(
        self,
        method: bytes,
        authority: bytes,
        target: bytes,
        lines: bytes,
        body: Any,
        credential: bytes,
        upgrade: bool,
        started: float,
    ) -> Deferred[UpstreamResponse]:
        """Send one request whose URL is in parts and whose header lines are rendered.

        `authority` is scheme and netloc, `lines` end with CRLF each, `body`
        is bytes, an IBodyProducer or None, `started` is now. What `request`
        does once it has taken apart what IAgent's callers put together.
        """
        place = self._origins.get(authority)
        if place is None:
            place = self._learn(authority)
        head = b"".join((method, b" ", target, b" HTTP/1.1\r\nHost: ", place[1], b"\r\n", lines, b"\r\n"))
        key = (authority, credential)
        idle = self._idle.get(key)
        if idle and not upgrade:
            connection = idle.pop()
            self._idle_count -= 1
            self._busy.add(connection)
            return connection.send(head, body, method == b"HEAD", False, started)
        return self._connect(place[0], key).addCallback(
            lambda connection: connection.send(head, body, method == b"HEAD", upgrade, started)
        )

    def probe(self, url: str) -> Deferred[None]:
        """Connect (and verify TLS), send nothing, close. Fails with an UpstreamError."""
        done = self._connect(parse_origin(url), None)
        return done.addCallback(lambda connection: connection.abort())

    def _learn(self, authority: bytes) -> tuple[Origin, bytes]:
        origin = parse_origin(authority.decode("ascii"))
        self._origins[authority] = (origin, origin.netloc)
        return self._origins[authority]

    def _connect(self, origin: Origin, key: Any) -> Deferred[UpstreamConnection]:
        def make(connecting: Connecting) -> UpstreamConnection:
            connection = UpstreamConnection(self, key, origin.tls, self._timeouts, self._clock)
            self._connecting[id(connection)] = connecting
            return connection

        return Connecting(self._reactor, origin, self._tls, self._timeouts.connect, make).done

    # ---- told by connections

    def connection_ready(self, connection: UpstreamConnection) -> None:
        self._busy.add(connection)
        if self._stopped and not self._sweeper.running:
            self.start()
        self._connecting.pop(id(connection)).ready(connection)

    def connection_free(self, connection: UpstreamConnection) -> None:
        self._busy.discard(connection)
        if self._stopped or self._idle_count >= MAX_IDLE:
            connection.abort()
            return
        connection.idle_since = self._clock()
        idle = self._idle.get(connection.key)
        if idle is None:
            idle = self._idle[connection.key] = []
        idle.append(connection)
        self._idle_count += 1

    def connection_aborted(self, connection: UpstreamConnection) -> None:
        idle = self._idle.get(connection.key)
        if idle and connection in idle:
            idle.remove(connection)
            self._idle_count -= 1

    def connection_closed(self, connection: UpstreamConnection, reason: Failure) -> None:
        self._busy.discard(connection)
        self.connection_aborted(connection)
        connecting = self._connecting.pop(id(connection), None)
        if connecting is not None:
            connecting.lost(reason)

    # ---- time

    def _sweep(self) -> None:
        now = self._clock()
        for connection in list(self._busy):
            try:
                connection.sweep(now)
            except Exception:  # or nobody would have a deadline any more
                log.failure("defect while sweeping an upstream connection")
                connection.abort()
        oldest = now - IDLE_S
        stale = [c for idle in self._idle.values() for c in idle if c.idle_since <= oldest]
        for connection in stale:
            connection.abort()
        for key in [key for key, idle in self._idle.items() if not idle]:
            del self._idle[key]  # swept, not deleted with each last one taken: most are soon back
        if self._stopped and not self._busy:
            self._sweeper.stop()


def _framed(pairs: list[tuple[bytes, bytes]], body: IBodyProducer | None) -> list[tuple[bytes, bytes]]:
    if body is None:
        return pairs
    if body.length is UNKNOWN_LENGTH:
        return [*pairs, (b"Transfer-Encoding", b"chunked")]
    return [*pairs, (b"Content-Length", b"%d" % body.length)]
