"""The site: makes channels and requests, sweeps their clocks, ends exchanges.

One per listening endpoint set; owns the set of open connections.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from attrs import evolve
from twisted.internet.interfaces import IAddress
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource, getChildForRequest
from twisted.web.server import Site

from ..exchange.bounded_memo import BoundedMemo
from ..exchange.client_address import Peer, TrustedProxies
from ..exchange.errors import Overloaded
from ..exchange.outcome import Outcome
from ..exchange.record import Exchange
from ..logs import logger
from ..net.sockets import cut
from ..wire.targets import map_target
from ..wire.web_origins import WebOrigins
from .channel import ProxyChannel
from .closing import close_if_idle
from .contract import DownstreamLimits, IncomingRequest, TurnRules
from .peers import may_speak, peer_of
from .proxy import ProxyResource
from .request import DownstreamRequest
from .sweep import due, sweep
from .wrong_scheme import WrongScheme

log = logger(__name__)

SWEEP_S = 0.25
REFUSAL_S = 2.0
"""How long a connection over the limit may take to ask for what it will not get."""
NOBODY = TrustedProxies()


_MOST_PEERS = 256
"""Connections from these latest addresses share a Peer."""
_METHODS = {method.encode("ascii"): method for method in ("GET", "POST", "DELETE", "HEAD", "OPTIONS")}
"""Of each a text that all exchanges share."""
ROOMY = 1 << 30


def _is_open(port: Any) -> bool:
    return bool(port.connected) and not port.disconnecting


class Root(Resource):
    """The resource tree: pages of our own by name, the API for everything else."""

    def __init__(self, api: ProxyResource) -> None:
        super().__init__()
        self.api = api

    def getChildWithDefault(self, path: bytes, request: Any) -> Resource:
        page: Resource | None = self.children.get(path)
        if page is None or (path == b"" and request.postpath):
            return self.getChild(path, request)
        request.check_page(page)
        return page

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Return the API for what is no page of our own; raises ProxyError if the API has no such target."""
        request.api_path = map_target(request.uri)
        return self.api


class ProxySite(Site):
    """A Site whose channels and requests are ours.

    `limits`, `pseudonym`, `at_end`, `max_connections`, `max_sockets`,
    `proxies` may be replaced while it runs: new connections and exchanges
    see the new ones.
    """

    noisy = False

    def __init__(
        self,
        root: Root,
        reactor: Any,
        limits: DownstreamLimits,
        pseudonym: bytes,
        clock: Callable[[], float],
        max_connections: int,
        adopt: Callable[[Any], None] = lambda transport: None,
    ) -> None:
        super().__init__(root, reactor=reactor)
        self.root = root
        self.limits = limits
        self.at_end: tuple[Callable[[Exchange], None], ...] = ()
        """Called in order with each exchange that has ended, before its client can see the end."""
        self.pseudonym = pseudonym
        self.clock = clock
        self.max_connections = max_connections
        """Connections that are served; those beyond are answered with a 503."""
        self.max_sockets: int | None = None
        """Connections that are open at once, refused ones included; None: as many as come."""
        self.ports: list[Any] = []
        """Where its connections come from."""
        self._refused: set[ProxyChannel] = set()
        self._waits_for_room = False
        self.proxies = NOBODY
        """Who may say for whom a request comes: `access.proxies`."""
        self.websocket_idle_s: float | None = None
        """How long a tunnel may be silent; None: as long as it likes."""
        self.worker = 0
        """Which of several workers this is; 0 if there is one process."""
        self.turns: TurnRules | None = None
        """How the turns of WebSockets are judged; None if none are read."""
        self.adopt = adopt
        """Given each client's transport once it is connected: may serve its socket."""
        self.channels: set[ProxyChannel] = set()
        self.wrong_scheme = WrongScheme()
        self.draining = False
        self.web_origins = WebOrigins()
        """Which pages of the web may call; replaced at a reload."""
        self.hold_end = False
        """An observer must see an exchange before its client sees the end of it."""
        self.refusal: Callable[[], str | None] | None = None
        """Says why no request may begin now, or None; itself None if no observer would."""
        self.capture: Callable[[], Any] | None = None
        """Makes what keeps an exchange's bodies, if an observer wants them."""
        self.later = self.next_turn
        """The same, bound once: each stream keeps it."""
        self._peers: BoundedMemo[str, Peer] = BoundedMemo(_MOST_PEERS)
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
        """Note that the endpoints are closed; connections may still run, so the sweeper goes on until `stop`."""

    def buildProtocol(self, addr: IAddress | None) -> Any:  # a ProxyChannel, without twisted.web's h2 wrapper
        refused = len(self.channels) - len(self._refused) >= self.max_connections
        limits = self.limits
        if refused:
            limits = evolve(limits, header_timeout_s=min(limits.header_timeout_s, REFUSAL_S))
        channel = ProxyChannel(limits, self.pseudonym, self.clock)
        channel.factory = channel.site = self
        if refused:
            channel.refusal = Overloaded(
                f"This proxy has all of its {self.max_connections} client connections in use."
            )
        return channel

    # ---- how many connections

    def opened(self, channel: ProxyChannel) -> None:
        """A connection is made."""
        self.channels.add(channel)
        if channel.refusal is not None:
            self._refused.add(channel)
        if self.room <= 0 and not self._waits_for_room:
            # the others wait in the kernel: a descriptor for them could be one that an exchange needs
            self._waits_for_room = True
            for port in self.ports:
                if _is_open(port):
                    port.stopReading()

    def closed(self, channel: ProxyChannel) -> None:
        """A connection is lost."""
        self.channels.discard(channel)
        self._refused.discard(channel)
        if self._waits_for_room and self.room > 0:
            self._waits_for_room = False
            for port in self.ports:
                if _is_open(port):
                    port.startReading()

    @property
    def room(self) -> int:
        """How many more connections may be open."""
        return ROOMY if self.max_sockets is None else self.max_sockets - len(self.channels)

    # ---- whose connections

    def may_speak_proxy_protocol(self, address: Any) -> bool:
        """Whether a peer at a `haproxy:` port may say for whom it comes."""
        return may_speak(self.proxies, address)

    def log(self, request: Any) -> None:
        """No access log here: observers see the exchange."""

    # ---- requests

    def getResourceFor(self, request: Any) -> Any:
        """Walk down the tree. As twisted.web does, without its copy of what is no site below another.

        The first segment of the path stays as it was sent, so that no page can
        be reached by a second spelling of its name. The others are unescaped,
        as in twisted.web.
        """
        request.site = self
        request.sitepath = []
        request.prepath = []
        request.path = path = request.uri.partition(b"?")[0]
        request.postpath = segments = path[1:].split(b"/")
        if b"%" in path:
            segments[1:] = map(unquote_to_bytes, segments[1:])
        return getChildForRequest(self.resource, request)

    def make_request(self, channel: ProxyChannel, incoming: IncomingRequest) -> DownstreamRequest:
        """Make the request and the record of its exchange."""
        peer = channel.peer
        if peer is None:
            peer = channel.peer = self._peer_of(channel)
        exchange = Exchange(
            self.clock(),
            time.time(),
            _METHODS.get(incoming.method) or incoming.method.decode("ascii", "replace"),
            incoming.target.partition(b"?")[0].decode("latin-1"),
            incoming.pairs,
            peer,
        )
        if self.worker:
            exchange.worker = self.worker
        if self.capture is not None:
            exchange.capture = self.capture()
        return DownstreamRequest(channel, incoming, exchange)

    def _peer_of(self, channel: ProxyChannel) -> Peer:
        return peer_of(channel.transport, self.proxies, self._peers)

    def end_exchange(self, exchange: Exchange, outcome: Outcome) -> None:
        """End an exchange once, and hand it to whoever follows exchanges."""
        if exchange.end(outcome, self.clock()):
            for follow in self.at_end:
                follow(exchange)

    # ---- time and the end

    def next_turn(self, function: Callable[[], None]) -> None:
        """Call a function after whatever else is waiting in the reactor."""
        self.reactor.callLater(0, function)

    def call_later(self, seconds: float, function: Callable[[], None]) -> Any:
        return self.reactor.callLater(seconds, function)

    def _sweep(self) -> None:
        now = self.clock()
        for channel in due(self.channels, now):
            try:
                sweep(channel, now)
            except Exception:  # or nobody would have a clock any more
                log.failure("defect while sweeping a connection")
                cut(channel.transport)

    def drain(self) -> None:
        """Begin to drain: answer the running requests, accept no new ones, close idle connections."""
        self.draining = True
        for channel in list(self.channels):
            if channel.tunnel is not None:
                channel.tunnel.drain()
            else:
                close_if_idle(channel)

    @property
    def websockets(self) -> int:
        """How many of the connections are WebSockets."""
        return sum(1 for channel in self.channels if channel.tunnel is not None)

    def abort(self) -> None:
        """Cut every connection."""
        for channel in list(self.channels):
            if channel.transport is not None:
                cut(channel.transport)

    def stop(self) -> None:
        """Stop the sweeper. Called once nothing is open any more."""
        if self._sweeper.running:
            self._sweeper.stop()
