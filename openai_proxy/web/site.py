"""The site: makes channels and requests, sweeps their clocks, ends exchanges.

One per listening endpoint set; owns the set of open connections.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httptools
from twisted.internet.interfaces import IAddress
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource
from twisted.web.server import Site

from ..core.errors import MethodNotAllowed, Overloaded
from ..core.exchange import Exchange, Outcome
from ..core.paths import API_METHODS, map_target, origin_form
from ..core.web_origins import WebOrigins
from ..logs import logger
from ..sockets import authorities, cut
from .channel import ProxyChannel
from .proxy import ProxyResource
from .request import DownstreamRequest
from .request_reader import DownstreamLimits, IncomingRequest
from .whole_messages import WholeMessages

log = logger(__name__)

SWEEP_S = 0.25


class Root(Resource):
    """The resource tree: pages of our own by name, the API for everything else."""

    def __init__(self, api: ProxyResource) -> None:
        super().__init__()
        self.api = api

    def is_page(self, path: bytes) -> bool:
        """Whether the first segment of `path` names a page of our own."""
        first = path[1:].partition(b"/")[0]
        return path == b"/" or (first != b"" and first in self.children)

    def getChild(self, path: bytes, request: Any) -> Resource:
        if path == b"":
            page: Resource = self.children[b""]
            return page
        request.api_path = map_target(request.uri)
        return self.api


class ProxySite(Site):
    """A Site whose channels and requests are ours.

    `limits`, `pseudonym`, `publish`, `max_connections` may be replaced while
    it runs: new connections and exchanges see the new ones.
    """

    noisy = False

    def __init__(
        self,
        root: Root,
        reactor: Any,
        limits: DownstreamLimits,
        publish: Callable[[Exchange], None],
        pseudonym: bytes,
        clock: Callable[[], float],
        max_connections: int,
        adopt: Callable[[Any], None] = lambda transport: None,
    ) -> None:
        super().__init__(root, reactor=reactor)
        self.root = root
        self.limits = limits
        self.publish = publish
        self.pseudonym = pseudonym
        self.clock = clock
        self.max_connections = max_connections
        self.adopt = adopt
        """Given each client's transport once it is connected: may serve its socket."""
        self.channels: set[ProxyChannel] = set()
        self.whole_requests = WholeMessages(httptools.HttpRequestParser)
        self.draining = False
        self.web_origins = WebOrigins()
        """Which pages of the web may call; replaced at a reload."""
        self.hold_end = False
        """An observer must see an exchange before its client sees the end of it."""
        self.capture: Callable[[], Any] | None = None
        """Makes what keeps an exchange's bodies, where an observer wants them."""
        self._sweeper = LoopingCall(self._sweep)
        self._sweeper.clock = reactor

    # ---- twisted.web's factory

    def startFactory(self) -> None:
        """Start the sweeper; stock Site would start a clock for an access log nobody writes."""
        if not self._sweeper.running:
            self._sweeper.start(SWEEP_S, now=False).addErrback(
                lambda failure: log.failure("the sweeper stopped", failure)
            )

    def stopFactory(self) -> None:
        """Endpoints closed; connections may still run, so the sweeper goes on until `stop`."""

    def buildProtocol(self, addr: IAddress | None) -> Any:  # a ProxyChannel, without twisted.web's h2 wrapper
        channel = ProxyChannel(self.limits, self.pseudonym, self.clock)
        channel.factory = channel.site = self
        if len(self.channels) >= self.max_connections:
            channel.refusal = Overloaded("The proxy has too many open connections.")
        return channel

    def log(self, request: Any) -> None:
        """No access log here: observers see the exchange."""

    # ---- requests

    def make_request(self, channel: ProxyChannel, incoming: IncomingRequest) -> DownstreamRequest:
        """Make the request and the record of its exchange."""
        known = incoming.known
        if known is not None:
            exchange = Exchange(self.clock(), time.time(), known.method_text, known.path)
        else:
            exchange = Exchange(
                started=self.clock(),
                timestamp=time.time(),
                method=incoming.method.decode("ascii", "replace"),
                path=incoming.target.partition(b"?")[0].decode("latin-1"),
            )
        exchange.request_headers = incoming.pairs
        if self.capture is not None:
            exchange.capture = self.capture()
        return DownstreamRequest(channel, incoming, exchange)

    def dispatch(self, request: DownstreamRequest) -> None:
        """Find what answers a request; raises ProxyError."""
        known = request.incoming.known
        if known is not None and known.place is not None and known.place[0] is self.root:
            self.root.api.admit(request, known.place[1])
            return
        target = request.uri
        if target[:1] != b"/":
            if request.method == b"CONNECT":
                raise MethodNotAllowed(API_METHODS)
            channel = request.channel
            target = origin_form(target, authorities(channel.transport, 443 if channel.isSecure() else 80))
        path = target.partition(b"?")[0]
        if self.root.is_page(path):
            request.render_page(target)
        else:
            path_of_api = map_target(target)
            if known is not None and target is request.uri:
                known.place = (self.root, path_of_api)
            self.root.api.admit(request, path_of_api)

    def end_exchange(self, exchange: Exchange, outcome: Outcome) -> None:
        """End an exchange once and publish it."""
        if exchange.end(outcome, self.clock()):
            self.publish(exchange)

    # ---- time and the end

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        self.reactor.callLater(seconds, function)

    def _sweep(self) -> None:
        now = self.clock()
        for channel in [
            each
            for each in self.channels
            if each.deadline <= now or each.stall_check <= now or each.reading_paused
        ]:
            try:
                channel.sweep(now)
            except Exception:  # or nobody would have a clock any more
                log.failure("defect while sweeping a connection")
                cut(channel.transport)

    def drain(self) -> None:
        """Answer what runs, take nothing new, close what is idle."""
        self.draining = True
        for channel in list(self.channels):
            channel.close_if_idle()

    def abort(self) -> None:
        """Cut every connection."""
        for channel in list(self.channels):
            if channel.transport is not None:
                cut(channel.transport)

    def stop(self) -> None:
        """Stop the sweeper; nothing is open any more."""
        if self._sweeper.running:
            self._sweeper.stop()
