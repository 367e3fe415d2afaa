"""An upstream agent in memory, its clock, and servers by hand."""

from fakes import Transport
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from openai_proxy.upstream.agent import UpstreamAgent
from openai_proxy.upstream.answer_timer import UpstreamTimeouts
from openai_proxy.upstream.client import UpstreamClient
from openai_proxy.upstream.request_headers import RequestHeaders
from openai_proxy.upstream.tls import ClientTLS

BASE = b"http://127.0.0.1:9000/v1"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Reader(Protocol):
    """Takes a body."""

    def __init__(self):
        self.data = b""
        self.end = None

    def dataReceived(self, data):
        self.data += data

    def connectionLost(self, reason):
        self.end = reason.type


class Server:
    """The other end of one connection, by hand."""

    def __init__(self, factory):
        self.protocol = factory.buildProtocol(None)
        self.transport = Transport()
        self.protocol.makeConnection(self.transport)

    def take(self):
        return self.transport.take()

    def say(self, *pieces):
        for piece in pieces:
            self.protocol.dataReceived(piece)

    def lose(self, error=ConnectionDone):
        self.protocol.connectionLost(Failure(error()))


class World:
    """An agent, its clock and its reactor's connections."""

    def __init__(self, **timeouts):
        self.reactor = MemoryReactorClock()
        self.agent = UpstreamAgent(
            self.reactor, UpstreamTimeouts(**timeouts), ClientTLS(), self.reactor.seconds
        )
        self.client = UpstreamClient(self.agent)
        self.agent.start()
        self.servers = []

    def send(self, method=b"GET", target=b"/models", pairs=(), credential=b"key", data=None):
        """Start a request; returns a list that will hold its response or its error."""
        results = []
        self.last = self.client.request(
            method, BASE + target, headers=RequestHeaders(list(pairs), credential), data=data
        )
        self.last.addCallbacks(results.append, lambda failure: results.append(failure.value))
        return results

    def accept(self):
        """Accept the connection asked for last."""
        server = Server(self.reactor.tcpClients[-1][2])
        self.servers.append(server)
        return server

    @property
    def connects(self):
        return len(self.reactor.tcpClients)

    def advance(self, seconds):
        self.reactor.pump([0.25] * int(seconds * 4))


def read(response):
    reader = Reader()
    response.deliverBody(reader)
    return reader
