"""The way of an exchange, traced over sockets: the Resource tree, treq, and producers and consumers in both directions."""

import sys
from contextlib import contextmanager

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from world.waiting import PATIENCE_S

from openai_proxy.daemon.serving import Serving
from openai_proxy.net.listening import listen
from openai_proxy.settings import load_settings

UPLOAD = (
    b"POST /v1/files HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer sk-1\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
)
REST = b"5\r\nworld\r\n0\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"data: 1\n\n"

WAY = [
    "Root.getChild",
    "ProxyResource.render",
    "PassThrough.__call__",
    "UpstreamForward.__call__",
    "UpstreamClient.request",
    "UpstreamAgent.request",
    "ConnectionMixin.registerProducer",  # the upstream's transport pauses the client's upload
    "IncomingBody.startProducing",
    "ProxyChannel.registerProducer",  # the client's transport pauses the upstream's answer
    "UpstreamBody.deliverBody",
    "Relay.dataReceived",
    "ProxySite.end_exchange",
]
"""What must be called for an upload and its stream, in this order."""


class Peer(Protocol):
    """One end of a connection: what it receives, and a wait for what must come."""

    def __init__(self):
        self.received = b""
        self._wanted, self._waiting = b"", None

    def dataReceived(self, data):
        self.received += data
        if self._waiting is not None and self._wanted in self.received:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    async def until(self, wanted):
        """Wait until `wanted` has come."""
        if wanted not in self.received:
            self._wanted, self._waiting = wanted, Deferred()
            self._waiting.addTimeout(PATIENCE_S, reactor)
            await self._waiting


class Upstream(Factory):
    """Keeps its connections; the first is waited for."""

    def __init__(self):
        self.connected = Deferred()

    def buildProtocol(self, address):
        peer = Peer()
        reactor.callLater(0, self.connected.callback, peer)
        return peer


@contextmanager
def traced():
    """Note the qualified names of the functions that are called in this thread, in order."""
    names = []
    before = sys.getprofile()

    def note(frame, event, _):
        if event == "call":
            names.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        yield names
    finally:
        sys.setprofile(before)


@pytest_twisted.async_yield_fixture
async def ends(tmp_path):
    """A daemon in this process, with an upstream: yields the upstream's connection to come, and a client."""
    upstream = Upstream()
    listening = reactor.listenTCP(0, upstream, interface="127.0.0.1")
    file = tmp_path / "openai-proxy.toml"
    file.write_text(
        'ports = ["tcp:0:interface=127.0.0.1"]\nobservers = ["none"]\n'
        f'[upstream]\nbase_url = "http://127.0.0.1:{listening.getHost().port}/v1"\n'
    )
    settings = load_settings({"config": str(file)}, {}, tmp_path)
    serving = Serving(reactor, settings, None)
    port = listen(reactor, settings.ports[0], serving.site)
    serving.start()
    client = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), Peer())
    yield upstream.connected, client
    client.transport.abortConnection()
    port.stopListening()
    await serving.drain()
    await serving.close()
    await listening.stopListening()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not tell qualified names")
@pytest_twisted.ensureDeferred
async def test_every_exchange_takes_the_way_that_was_asked_for(ends):
    """A Resource found in the tree forwards with treq's client; both bodies flow from producer to consumer."""
    connected, client = ends
    with traced() as names:
        client.transport.write(UPLOAD)
        upstream = await connected.addTimeout(PATIENCE_S, reactor)
        await upstream.until(b"hello")
        client.transport.write(REST)
        await upstream.until(b"world\r\n0\r\n\r\n")
        upstream.transport.write(HEAD + b"9\r\n" + EVENT + b"\r\n")
        await client.until(EVENT)
        upstream.transport.write(b"0\r\n\r\n")
        await client.until(b"\r\n0\r\n\r\n")
    assert upstream.received.startswith(b"POST /v1/files HTTP/1.1\r\n")
    assert client.received.startswith(b"HTTP/1.1 200 OK\r\n")
    way = iter(names)
    missing = [name for name in WAY if name not in way]
    assert missing == []
