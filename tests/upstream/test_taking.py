"""Requests that an upstream has not taken whole: the time of the answer, and the end of the connection."""

import pytest
from fakes import SocketPair, incoming, results_of
from twisted.internet import tcp
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.exchange.bodies import WholeBody
from openai_proxy.exchange.upstream_errors import UpstreamTimeout
from openai_proxy.net.origin import parse_origin
from openai_proxy.upstream.answer_timer import UpstreamTimeouts
from openai_proxy.upstream.connection import UpstreamConnection
from openai_proxy.upstream.idle_pool import pool_key

HEAD = b"POST /v1/x HTTP/1.1\r\nHost: h\r\n\r\n"
SIZE = 4_000_000
EARLY = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 429 Too Many Requests\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


def uploaded(data):
    return incoming(data, length=len(data))


BODIES = {"JSON": WholeBody, "form": uploaded}


class UploadingConnection:
    """One connection over a pair of sockets; its peer reads when the test says so."""

    def __init__(self, kind, size=SIZE, **timeouts):
        self.reactor = MemoryReactorClock()
        self.pair = SocketPair(tcp.Server, self.reactor)
        self.freed = []
        key = pool_key(parse_origin("http://h"), b"key")
        limits = UpstreamTimeouts(**timeouts)
        self.connection = UpstreamConnection(self, key, limits, self.reactor.seconds)
        self.pair.transport.protocol = self.connection
        self.connection.makeConnection(self.pair.transport)
        now = self.reactor.seconds()
        sent = self.connection.send(HEAD, BODIES[kind](b"x" * size), False, False, now, now)
        self.results = results_of(sent)
        self.left = len(HEAD) + size

    def adopt(self, transport): ...

    def connection_ready(self, connection): ...

    def connection_aborted(self, connection): ...

    def connection_stale(self, connection): ...

    def connection_closed(self, connection, reason): ...

    def connection_free(self, connection):
        self.freed.append(connection)

    def wait(self, seconds):
        for _ in range(int(seconds * 4)):
            self.reactor.advance(0.25)
            if not self.connection.state.is_ended:
                self.connection.sweep(self.reactor.seconds())

    def take(self, size):
        """Let the peer read, and our side write."""
        while size > 0:
            self.pair.transport.doWrite()
            taken = len(self.pair.arrived())
            size -= taken
            self.left -= taken

    def say(self, data):
        self.connection.dataReceived(data)


@pytest.fixture
def uploading():
    connections = []

    def make(*arguments, **options):
        connections.append(UploadingConnection(*arguments, **options))
        return connections[-1]

    yield make
    for each in connections:
        each.pair.close()


@pytest.mark.parametrize("kind", BODIES)
def test_the_first_byte_is_awaited_from_the_end_of_the_body(uploading, kind):
    """A slow line is no slow answer; what comes late after the body is one."""
    slow = uploading(kind, first_byte=1.0, idle=60.0)
    for _ in range(4):
        slow.wait(2)
        slow.take(200_000)
    assert slow.results == []
    slow.take(slow.left)
    slow.wait(0.5)
    assert slow.results == []
    slow.wait(1.5)
    assert [type(result) for result in slow.results] == [UpstreamTimeout]
    assert slow.results[0].kind == "timeout_first_byte"


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_that_nobody_takes_is_a_timeout(uploading, kind):
    """The idle time holds for JSON as for what streams."""
    stuck = uploading(kind, first_byte=1.0, idle=5.0)
    stuck.wait(4)
    assert stuck.results == []
    stuck.wait(2)
    assert [result.kind for result in stuck.results] == ["timeout_upload"]


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("answer", [EARLY, CHUNKED], ids=["counted", "chunked"])
def test_a_connection_with_unsent_bytes_is_closed(uploading, kind, answer):
    """The next request would wait for megabytes that nobody reads."""
    early = uploading(kind)
    early.say(answer)
    assert early.results[0].code in (413, 429)
    assert early.freed == []
    assert early.connection.state.is_ended


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("answer", [EARLY, CHUNKED], ids=["counted", "chunked"])
def test_a_connection_whose_body_was_taken_is_kept(uploading, kind, answer):
    """However large it was, and whatever the status."""
    taken = uploading(kind)
    taken.take(taken.left)
    taken.say(answer)
    assert taken.freed == [taken.connection]


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_small_request_waits_for_its_answer_at_once(uploading, size):
    """Nobody asks the kernel about it."""
    small = uploading("JSON", size=size, first_byte=1.0)
    small.take(small.left)
    small.wait(2)
    assert [result.kind for result in small.results] == ["timeout_first_byte"]
