"""The innermost `forward`: how a request is framed, and which lines of an answer end here."""

import pytest
from fakes import delivered, incoming
from twisted.internet.defer import Deferred
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from upstream.edge import BASE, JSON, ForwardingEdge, UpstreamEdge
from zope.interface import implementer

from openai_proxy.exchange.upstream_errors import UpstreamProtocolError

LENGTH = (b"Content-Length", b"%d" % len(JSON))
FIRST = b"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n"


@pytest.mark.parametrize(
    ("body", "lines", "sent"),
    [
        (None, [], b"Via: 1.1 p\r\n\r\n"),
        (JSON, [LENGTH], b"Content-Length: 14\r\nVia: 1.1 p\r\n\r\n" + JSON),
        (incoming(JSON, length=len(JSON)), [LENGTH], b"Content-Length: 14\r\nVia: 1.1 p\r\n\r\n" + JSON),
        (
            incoming(JSON),
            [],
            b"Via: 1.1 p\r\nTransfer-Encoding: chunked\r\n\r\ne\r\n" + JSON + b"\r\n0\r\n\r\n",
        ),
    ],
    ids=["none", "JSON", "counted", "chunked"],
)
def test_a_request_has_one_framing(body, lines, sent):
    """Two would let the next server see another request in it (RFC 9112 §6.3)."""
    edge = ForwardingEdge()
    edge.ask(body, headers=lines)
    assert edge.accept().take() == FIRST + sent


@implementer(IBodyProducer)
class Silent:
    """A body that never writes."""

    def __init__(self, length):
        self.length = length

    def startProducing(self, consumer):
        return Deferred()

    def pauseProducing(self): ...

    def resumeProducing(self): ...

    def stopProducing(self): ...


@pytest.mark.parametrize(
    ("length", "framing"),
    [(UNKNOWN_LENGTH, b"Transfer-Encoding: chunked\r\n\r\n"), (5, b"Content-Length: 5\r\n\r\n")],
)
def test_the_agent_frames_what_has_no_framing(length, framing):
    """Of any other caller of IAgent: by the body, once."""
    edge = UpstreamEdge()
    edge.client.request(b"POST", BASE, data=Silent(length))
    assert edge.accept().take() == b"POST /v1 HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n" + framing


HOP_BY_HOP = (
    b"Connection: keep-alive, X-Named\r\nKeep-Alive: timeout=5\r\nX-Named: 1\r\n"
    b"Proxy-Connection: x\r\nTE: trailers\r\nTrailer: X-T\r\nUpgrade: h2c\r\n"
)


@pytest.mark.parametrize(
    ("framing", "pieces"),
    [
        (b"Content-Length: 2\r\n", [b"ok"]),
        (b"Content-Length: 2\r\n", [b"o", b"k"]),
        (b"Transfer-Encoding: chunked\r\n", [b"2\r\nok\r\n", b"0\r\n\r\n"]),
        (b"", [b"ok"]),
    ],
    ids=["whole", "counted", "chunked", "until close"],
)
def test_lines_of_this_hop_end_here(framing, pieces):
    """They are about the upstream's connection, not the client's (RFC 9110 §7.6.1); those that Connection names too."""
    edge = ForwardingEdge()
    _, results = edge.ask(JSON)
    server = edge.accept()
    server.say(b"HTTP/1.1 200 OK\r\nX-One: 1\r\n" + HOP_BY_HOP + framing + b"x-two: 2\r\n\r\n" + pieces[0])
    server.say(*pieces[1:])
    if not framing:
        server.lose()
    (answer,) = results
    length = [(b"Content-Length", b"2")] if framing.startswith(b"Content") else []
    assert answer.headers == [(b"X-One", b"1"), *length, (b"x-two", b"2")]
    assert delivered(answer.body).data == b"ok"


def test_a_101_says_what_is_switched_to_and_nothing_else_of_this_hop():
    """The client's connection becomes what Upgrade says; the rest of the hop's lines end here."""
    edge = ForwardingEdge()
    _, results = edge.ask(method=b"GET", upgrade=True)
    server = edge.accept()
    assert server.take().endswith(b"Via: 1.1 p\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    server.say(
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nKeep-Alive: timeout=5\r\nupgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: x\r\n\r\n\x81\x00"
    )
    (answer,) = results
    assert answer.headers == [
        (b"Connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"Sec-WebSocket-Accept", b"x"),
    ]
    assert delivered(answer.body).data == b"\x81\x00"


class ShortParser:
    """A parser that says that a message is whole when it is not."""

    def __init__(self, reader):
        self._reader = reader

    def should_keep_alive(self):
        return True

    def feed_data(self, data):
        reader = self._reader
        reader.status, reader.head_done, reader.parser = 200, True, self
        reader.pairs = [(b"Content-Length", b"5")]
        reader.on_body(b"cut")
        reader.on_message_complete()


def test_a_body_of_another_length_than_its_head_says_is_never_passed_on():
    """The client would take what follows for the rest of it."""
    edge = ForwardingEdge()
    _, results = edge.ask(JSON)
    server = edge.accept()
    connection = server.protocol._wrappedProtocol
    connection._reader.parser = ShortParser(connection._reader)
    server.say(b"whatever")
    assert [type(result) for result in results] == [UpstreamProtocolError]
    assert server.transport.ended == "aborted"
