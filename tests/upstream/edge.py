"""An upstream agent in memory, its clock, and servers by hand."""

from fakes import Transport, exchange, results_of, through
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.upstream.agent import UpstreamAgent
from openai_proxy.upstream.answer_timer import UpstreamTimeouts
from openai_proxy.upstream.client import UpstreamClient
from openai_proxy.upstream.forward import UpstreamForward, destination
from openai_proxy.upstream.request_headers import RequestHeaders
from openai_proxy.upstream.tls import ClientTLS

BASE = b"http://127.0.0.1:9000/v1"
JSON = b'{"model": "m"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


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


class UpstreamEdge:
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
        self.last = self.client.request(
            method, BASE + target, headers=RequestHeaders(list(pairs), credential), data=data
        )
        return results_of(self.last)

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


class ForwardingEdge(UpstreamEdge):
    """The innermost `forward` on the agent."""

    def __init__(self):
        super().__init__()
        self.forward = UpstreamForward(
            self.client, destination("default", "http://127.0.0.1:9000/v1", "p"), {}, self.reactor.seconds
        )

    def ask(self, body=None, method=b"POST", headers=(), **fields):
        """Start an exchange: (its record, a list that will hold the response or the error)."""
        record = exchange()
        request = ProxyRequest(method, b"/x", list(headers), body, record, credential=b"key", **fields)
        return record, results_of(through(self.forward, request))

    def keep(self, number=1):
        """Have some connections kept, the first of them idle for longest."""
        asked, servers = [], []
        for _ in range(number):
            asked.append(self.ask())
            servers.append(self.accept())
        for server in servers:
            self.reactor.advance(0.001)
            server.take()
            server.say(OK)
        assert all(results[0].status == 200 for _, results in asked)
        return servers
