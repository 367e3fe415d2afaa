"""The upstream agent: IAgent with a pool, deadlines and real aborts.

What it sends is what it is given: no header is added, changed or decoded.
Connections are pooled per origin and credential, last in, first out.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer
from zope.interface import implementer

from ..exchange.bodies import WholeBody
from ..exchange.upstream_errors import UpstreamError
from ..logs import logger
from ..net.dns_cache import DNSCache
from ..net.origin import Origin, parse_origin
from ..net.sockets import is_quiet
from ..net.turns import Rests
from ..net.twisted_headers import WireHeaders
from ..wire.render import header_lines, request_head
from .answer_timer import UpstreamTimeouts
from .connection import UpstreamConnection
from .connector import Connecting
from .contract import Connection, Key
from .idle_pool import IdlePool, pool_key
from .request_headers import RequestHeaders
from .tls import ClientTLS
from .warm import WarmConnections

log = logger(__name__)

SWEEP_S = 0.25
IDLE_S = 50.0
"""Shorter than the keep-alive of common servers, so that they seldom close first."""
MOST_IDLE = 1024
"""Idle connections in all, if the descriptors allow it: see `most_idle`."""
LEAST_IDLE = 4
UPLOAD_IDLE_S = 5.0
"""A streamed upload does not start on a connection that has been idle for longer."""


def most_idle() -> int:
    """Return how many idle connections this process may keep: at most a quarter of its descriptors."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MOST_IDLE
    return max(LEAST_IDLE, min(MOST_IDLE, descriptors // 4))


_WITHOUT_BODY = frozenset((b"GET", b"HEAD", b"OPTIONS"))
"""Methods whose body a server may take for the next request, so that the connection is closed after it."""


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
        work_clock: Callable[[], float] = time.thread_time,
        names: DNSCache | None = None,
    ) -> None:
        self._rests = Rests(reactor)
        self.work_clock = work_clock
        self._reactor = reactor
        self._timeouts = timeouts
        self._tls = tls
        self._names = names
        self._clock = clock
        self.adopt = adopt
        self._idle = IdlePool(MOST_IDLE)
        self._busy: set[Connection] = set()
        self._connecting: dict[int, Connecting] = {}
        self.unreachable: set[Origin] = set()
        """Origins to which the latest connection could not be made."""
        self._stopped = False
        self.warm = WarmConnections()
        """Those that no request has had yet; replaced before `start`."""
        self.max_open: int | None = None
        """Connections that descriptors suffice for; beyond, the one that has idled longest makes room."""
        self._sweeper = LoopingCall(self._sweep)
        self._sweeper.clock = reactor

    @property
    def open_connections(self) -> int:
        return len(self._idle) + len(self._busy) + len(self.warm)

    def start(self) -> None:
        self._idle.limit = most_idle()
        self._sweeper.start(SWEEP_S, now=False).addErrback(
            lambda failure: log.failure("the upstream sweeper stopped", failure)
        )

    def stop(self) -> None:
        """Close what is idle; what is busy goes on and is not pooled any more.

        A stage that waits (to try again, for one) may still ask for a
        connection: it gets one, and its deadlines.
        """
        self._stopped = True
        for connection in (*self._idle.clear(), *self.warm.clear()):
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

        `uri` is absolute; everything after its authority is sent as it is.
        Of RequestHeaders the lines are sent as they are, framing included;
        of other Headers the framing follows from `bodyProducer`.
        """
        lines = headers if isinstance(headers, RequestHeaders) else _framed(headers, bodyProducer)
        now = self._clock() if lines.started is None else lines.started
        slash = uri.find(b"/", len(b"https://"))
        if slash < 0:
            uri, slash = uri + b"/", len(uri)
        origin = lines.origin or parse_origin(uri[:slash].decode("ascii"))
        head = request_head(method, uri[slash:], origin.netloc, header_lines(lines.pairs))
        key = pool_key(origin, lines.credential)
        has_odd_body = method in _WITHOUT_BODY and bodyProducer is not None and bodyProducer.length != 0
        connection = None
        if not lines.fresh:
            connection = self._take(key, bodyProducer, now, lines.upgrade)
        if connection is not None:
            self._busy.add(connection)
            connection.payer = lines.payer
            connection.is_last = has_odd_body
            return connection.send(head, bodyProducer, method == b"HEAD", lines.upgrade, now, now)

        def send(connection: Connection) -> Deferred[Any]:
            connection.payer = lines.payer
            connection.is_last = has_odd_body
            connected = self._clock()
            lines.connect_s = connected - now
            return connection.send(head, bodyProducer, method == b"HEAD", lines.upgrade, now, connected)

        return self._connect(origin, key).addCallback(send)

    def _take(self, key: Key, body: IBodyProducer | None, now: float, upgrade: bool) -> Connection | None:
        """Return a kept connection for this body, or a warm one; None if a fresh one has to be made."""
        if body is not None and type(body) is not WholeBody:
            return self._take_for_upload(key, body, now)
        connection = None if upgrade else self._idle.take(key)
        if connection is None:
            connection = self.warm.take(key[0])
            if connection is not None:
                connection.key = key
                connection.was_warm = True
        return connection

    def _take_for_upload(self, key: Key, body: Any, now: float) -> Connection | None:
        """Return a kept connection for a body that arrives as it goes up; None for a fresh one.

        The upstream may close a kept connection at any moment. A body that
        can be produced again may still lose that race, so it takes one that
        shows no sign of it; any other body never takes the risk.
        """
        if not getattr(body, "rewindable", False):
            return None
        connection = self._idle.newest(key)
        if connection is None or now - connection.idle_since > UPLOAD_IDLE_S:
            return None
        # What can be read, or the end, is in the socket and not yet with us: the connection will see to it.
        return self._idle.take(key) if is_quiet(connection.transport) else None

    def probe(self, origin: Origin) -> Deferred[None]:
        """Connect (and verify TLS), send nothing, close. Fails with an UpstreamError."""
        done = self._connect(origin, (origin, b""))
        return done.addCallback(lambda connection: connection.abort())

    def _make_room(self) -> None:
        """Cut the connection that has idled longest, if descriptors are few and it takes the one that is needed."""
        if self.max_open is None or self.open_connections + len(self._connecting) < self.max_open:
            return
        oldest = self._idle.take_oldest()
        if oldest is not None:
            oldest.abort()

    def _connect(self, origin: Origin, key: Key) -> Deferred[Connection]:
        self._make_room()

        def make(connecting: Connecting) -> UpstreamConnection:
            connection = UpstreamConnection(self, key, self._timeouts, self._clock)
            self._connecting[id(connection)] = connecting
            return connection

        connecting = Connecting(
            self._reactor, origin, self._tls, self._timeouts.connect, make, self._names
        ).done
        return connecting.addCallbacks(self._reached, self._missed, (origin,), errbackArgs=(origin,))

    def _connect_warm(self, origin: Origin) -> Deferred[Connection]:
        """Make a connection for whoever asks next."""

        def rest(connection: Connection) -> Connection:
            self._busy.discard(connection)
            return connection

        return self._connect(origin, (origin, b"")).addCallback(rest)

    def _room(self) -> int:
        """Return how many more connections descriptors suffice for."""
        if self.max_open is None:
            return MOST_IDLE
        return max(0, self.max_open - self.open_connections - len(self._connecting))

    def _reached(self, connection: Connection, origin: Origin) -> Connection:
        self.unreachable.discard(origin)
        return connection

    def _missed(self, failure: Failure, origin: Origin) -> Failure:
        if failure.check(UpstreamError):  # otherwise nobody waited for it any more
            self.unreachable.add(origin)
        return failure

    # ---- what connections report

    def connection_ready(self, connection: Connection) -> None:
        self._busy.add(connection)
        if self._stopped and not self._sweeper.running:
            self.start()
        self._connecting.pop(id(connection)).ready(connection)

    def connection_free(self, connection: Connection) -> None:
        self._busy.discard(connection)
        if self._stopped:
            connection.abort()
            return
        oldest = self._idle.put(connection, self._clock())
        if oldest is not None:
            oldest.abort()

    def rest(self, connection: Connection, worked_s: float) -> None:
        self._rests.wait(worked_s, connection.go_on)

    def connection_stale(self, connection: Connection) -> None:
        for other in self._idle.as_idle_as(connection.key[0], connection.idle_since):
            other.abort()

    def connection_aborted(self, connection: Connection) -> None:
        self._idle.remove(connection)
        self.warm.remove(connection)

    def connection_closed(self, connection: Connection, reason: Failure) -> None:
        self._busy.discard(connection)
        self._idle.remove(connection)
        self.warm.remove(connection)
        connecting = self._connecting.pop(id(connection), None)
        if connecting is not None:
            connecting.lost(reason)

    # ---- time

    def _sweep(self) -> None:
        now = self._clock()
        for connection in list(self._busy):
            try:
                connection.sweep(now)
            except Exception:  # otherwise nobody would have a deadline any more
                log.failure("defect while sweeping an upstream connection")
                connection.abort()
        for connection in self._idle.older_than(now - IDLE_S):
            connection.abort()
        for connection in self.warm.older_than(now - IDLE_S):
            connection.abort()
        if not self._stopped:
            self.warm.refill(self._room(), self._connect_warm, self._clock)
        self._idle.forget_empty()
        if self._stopped and not self._busy:
            self._sweeper.stop()


def _framed(headers: Headers | None, body: IBodyProducer | None) -> RequestHeaders:
    """Return the lines of Headers that leave the framing to the agent."""
    pairs = WireHeaders.of(headers).pairs
    if body is None:
        return RequestHeaders(pairs)
    if body.length is UNKNOWN_LENGTH:
        return RequestHeaders([*pairs, (b"Transfer-Encoding", b"chunked")])
    return RequestHeaders([*pairs, (b"Content-Length", b"%d" % body.length)])
