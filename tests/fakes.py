"""Peers and parts in memory: transports, bodies, a composed `forward`.

For unit tests only; nothing here waits, and nothing but SocketPair opens anything.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHostnameResolver, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from zope.interface import implementer

from openai_proxy.downstream.contract import DownstreamLimits
from openai_proxy.downstream.proxy import ProxyResource
from openai_proxy.downstream.site import ProxySite, Root
from openai_proxy.exchange.messages import ProxyResponse
from openai_proxy.exchange.record import Exchange
from openai_proxy.pages.pages import JSONPage

DONE = Failure(ResponseDone())
JSON = (b"Content-Type", b"application/json")
UPGRADE = (
    b"GET /v1/realtime HTTP/1.1\r\nHost: p\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def exchange(**fields):
    """Return a running exchange that started at 0."""
    return Exchange(started=0.0, timestamp=0.0, **{"method": "POST", "path": "/v1/x", **fields})


def through(forward, *args):
    """Return a Deferred of what `forward(*args)` gives, raised at once or awaited."""

    async def run():
        return await forward(*args)

    return Deferred.fromCoroutine(run())


@implementer(ITCPTransport)
class Transport(StringTransport):
    """A TCP transport that remembers how it was ended.

    `ended` is None, "closed" or "aborted"; `half_closed` says that our side
    has nothing more to say.
    """

    def __init__(self):
        super().__init__(lenient=True)
        self.ended = None
        self.half_closed = False

    def loseConnection(self):
        super().loseConnection()
        self.ended = self.ended or "closed"

    def abortConnection(self):
        super().abortConnection()
        self.ended = "aborted"

    def loseWriteConnection(self):
        self.half_closed = True

    def unregisterProducer(self):
        self.producer = self.streaming = None

    def take(self):
        """Return what was written since the last call."""
        data = self.value()
        self.clear()
        return data

    def getTcpNoDelay(self):
        return True

    def setTcpNoDelay(self, enabled):
        """Nothing is delayed here."""

    def getTcpKeepAlive(self):
        return True

    def setTcpKeepAlive(self, enabled):
        """Nothing is kept alive here."""


class SocketPair:
    """A connected transport of Twisted's over a real socket, and the socket of its peer (`peer`); nothing turns.

    `kind` is a server's transport class, `reactor` whatever it should call.
    """

    def __init__(self, kind, reactor):
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.reactor = reactor
        self.transport = kind(ours, Protocol(), ("x", 1), None, 0, reactor)

    def close(self):
        if hasattr(self.transport, "socket"):
            self.transport.socket.close()
        self.peer.close()

    def arrived(self):
        """Return what the peer can read now."""
        data = b""
        with suppress(BlockingIOError):
            while more := self.peer.recv(1 << 20):
                data += more
        return data

    def fill(self):
        """Write until the kernel takes no more; return what was written."""
        data = b""
        while not self.transport.dataBuffer:
            chunk = b"%06d" % len(data) * 5000
            self.transport.write(chunk)
            self.transport.doWrite()
            data += chunk
        return data

    def drain(self, size):
        """Return `size` bytes, read while the transport writes as a reactor lets it."""
        data = self.arrived()
        while len(data) < size:
            assert not self.transport.doWrite()
            data += self.arrived()
        return data


class Body:
    """A response body (messages.ResponseBody), fed and ended by hand."""

    whole = None

    def __init__(self, length=None):
        self.length = length
        self.protocol = None
        self.discards = 0
        self.paused = False

    def deliverBody(self, protocol):
        self.protocol = protocol
        protocol.makeConnection(self)

    def discard(self):
        self.discards += 1

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused = False

    def feed(self, *chunks):
        for chunk in chunks:
            self.protocol.dataReceived(chunk)

    def end(self):
        self.protocol.connectionLost(DONE)

    def cut(self):
        self.protocol.connectionLost(Failure(ConnectionLost()))


class Answer(Body):
    """A body whose bytes are all there."""

    def __init__(self, data):
        super().__init__(len(data))
        self.data = data

    def deliverBody(self, protocol):
        super().deliverBody(protocol)
        self.feed(self.data)
        self.end()


class Far(Body):
    """The upstream's side of a tunnel: a body that can also be written to."""

    def __init__(self):
        super().__init__()
        self.written = []
        self.producer = None
        self.closed = False

    def write(self, data):
        self.written.append(data)

    def registerProducer(self, producer, streaming):
        assert streaming
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def loseConnection(self):
        self.closed = True

    def end(self, error):
        self.protocol.connectionLost(Failure(error))


class Source:
    """The channel's part in a request's body: whether it is held back, how often it was, and 100 Continue."""

    def __init__(self):
        self.held = False
        self.holds = 0
        self.wanted = False

    def hold_body(self):
        self.held = True
        self.holds += 1

    def release_body(self):
        self.held = False

    def want_body(self):
        self.wanted = True


class Sink:
    """The upstream's part in a request's body: `data` is what was written."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data


class Reader:
    """What a client receives of a body: `data`, and why it ended: `reason`, and `end`, the class of that."""

    def __init__(self):
        self.data = b""
        self.end = self.reason = None

    def makeConnection(self, transport):
        self.transport = transport

    def dataReceived(self, data):
        assert self.end is None
        self.data += data

    def connectionLost(self, reason):
        assert self.end is None
        self.end, self.reason = reason.type, reason.value


def read(response):
    """Return the whole body that a client receives of a ProxyResponse, after its filters."""
    reader = Reader()
    response.body.deliverBody(reader)
    assert reader.end is ResponseDone
    data = reader.data
    for each in response.filters:
        data = each.feed(data) + each.finish()
    return data


def response(body, *headers, status=200, reason=b"OK"):
    """Return a ProxyResponse; its Content-Length follows from the body."""
    length = [] if body.length is None else [(b"Content-Length", b"%d" % body.length)]
    return ProxyResponse(status, reason, [*headers, *length], body)


@implementer(IHostnameResolver)
class Resolver:
    """Resolves every name to one address, and keeps the names that it was asked for."""

    def __init__(self):
        self.asked = []

    def resolveHostName(self, receiver, name, portNumber, *arguments, **options):
        self.asked.append(name)
        receiver.resolutionBegan(self)
        receiver.addressResolved(IPv4Address("TCP", "10.1.2.3", portNumber))
        receiver.resolutionComplete()
        return self


def chat_chunk(delta, finish=None, index=0, **more):
    """Return a chunk of a chat's stream; a delta that is a string is its content."""
    if isinstance(delta, str):
        delta = {"content": delta}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
        **more,
    }


class Recorder:
    """The innermost `forward`: keeps each request, answers `ok` once its body is whole."""

    def __init__(self):
        self.requests = []
        self.bodies = []

    async def __call__(self, request):
        self.requests.append(request)
        body = request.body
        if body is not None and not isinstance(body, bytes):
            body = await body.read(1 << 30)
        self.bodies.append(body or b"")
        return response(Answer(b"ok"))


class Downstream:
    """A whole downstream edge in memory: site, resource tree and clock.

    `forward` is what answers the API; `published` the ended exchanges.
    """

    def __init__(self, forward=None, in_flight=None, connections=1000, **limits):
        self.clock = Clock()
        self.forward = forward or Recorder()
        self.published = []
        self.api = ProxyResource(self.forward, in_flight)
        root = Root(self.api)
        root.putChild(b"", JSONPage(lambda: (200, {"service": "test"})))
        root.putChild(b"health", JSONPage(lambda: (200, {"status": "healthy"})))
        self.site = ProxySite(
            root,
            self.clock,
            DownstreamLimits(**limits),
            self.published.append,
            b"openai-proxy",
            self.clock.seconds,
            connections,
        )
        self.site.startFactory()

    def connect(self):
        return Connection(self.site.buildProtocol(None), self.clock)

    @property
    def outcomes(self):
        return [ended.outcome.value for ended in self.published]

    def advance(self, seconds):
        """Let time pass, a quarter of a second at a time, as the sweeper sees it."""
        self.clock.pump([0.25] * int(seconds * 4))


class Connection:
    """One client's connection to a Downstream."""

    def __init__(self, channel, clock):
        self.channel = channel
        self.transport = Transport()
        self._clock = clock
        self._lost = False
        channel.makeConnection(self.transport)

    def send(self, *pieces):
        """Send each piece as one read; returns what came back since the last call."""
        for piece in pieces:
            if self.transport.ended is None:
                self.channel.dataReceived(piece)
        return self.transport.take()

    def lose(self, reason=None):
        """Tell the channel that the client is gone."""
        if not self._lost:
            self._lost = True
            self.channel.connectionLost(Failure(reason or ConnectionDone()))

    @property
    def ended(self):
        return self.transport.ended
