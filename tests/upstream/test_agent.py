"""The upstream agent in memory: what goes on the wire, what is made of the answers, what is kept."""

import pytest
from fakes import Reader, delivered
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from upstream.edge import OK, UpstreamEdge
from zope.interface import implementer

from openai_proxy.exchange.upstream_errors import UpstreamProtocolError, UpstreamTimeout, UpstreamUnreachable


def test_request_is_written_as_given():
    """Host comes first; nothing else is added, changed or encoded."""
    edge = UpstreamEdge()
    edge.send(b"POST", b"/x%2Fy?a=b c", [(b"x-One", b"1"), (b"Content-Length", b"2")], data=b"{}")
    assert edge.reactor.tcpClients[0][:2] == ("127.0.0.1", 9000)
    assert edge.accept().take() == (
        b"POST /v1/x%2Fy?a=b c HTTP/1.1\r\nHost: 127.0.0.1:9000\r\nx-One: 1\r\nContent-Length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"HTTP/1.1 200 Fine\r\nX-a: 1\r\nx-A: 2\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (
            b"HTTP/1.1 200 Fine\r\nX-a: 1\r\nx-A: 2\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            b"hello",
        ),
        (
            b"HTTP/1.1 103 Early\r\nL: x\r\n\r\nHTTP/1.1 200 Fine\r\nX-a: 1\r\nx-A: 2\r\nContent-Length: 0\r\n\r\n",
            b"",
        ),
    ],
)
def test_response_is_the_same_in_any_pieces(raw, body, size):
    """Whole or byte by byte: status, lines in order and case, body."""
    edge = UpstreamEdge()
    results = edge.send()
    edge.accept().say(*(raw[i : i + size] for i in range(0, len(raw), size)))
    (response,) = results
    assert (response.code, response.phrase) == (200, b"Fine")
    assert response.pairs[:2] == [(b"X-a", b"1"), (b"x-A", b"2")]
    reader = delivered(response)
    assert (reader.data, reader.end) == (body, ResponseDone)


def test_connection_is_used_again_by_the_same_credential_alone():
    """Two keys never share a connection."""
    edge = UpstreamEdge()
    first = edge.send()
    server = edge.accept()
    server.say(OK)
    delivered(first[0])
    assert edge.agent.open_connections == 1
    server.take()
    edge.send()
    assert edge.connects == 1
    assert server.take().startswith(b"GET /v1/models")
    server.say(OK)
    edge.send(credential=b"another")
    assert edge.connects == 2


def test_last_idle_connection_is_taken_first():
    """The one that was used last is the one least likely to be closed."""
    edge = UpstreamEdge()
    answers = []
    for _ in range(2):
        answers.append(edge.send())
        edge.accept()
    for server, results in zip(edge.servers, answers, strict=True):
        server.say(OK)
        delivered(results[0])
        server.take()
    edge.send()
    assert (edge.servers[0].take(), edge.servers[1].take()[:3]) == (b"", b"GET")


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"x",
        OK + OK,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\n\r\nxx",
    ],
    ids=["surplus", "second response", "close", "1.0", "body of a 204"],
)
def test_odd_connection_is_not_used_again(raw):
    """Anything unusual ends with the request that saw it."""
    edge = UpstreamEdge()
    results = edge.send()
    edge.accept().say(raw)
    assert results[0].code in (200, 204)
    delivered(results[0])
    edge.send()
    assert edge.connects == 2


def test_bytes_nobody_asked_for_end_the_connection():
    """An idle connection that speaks is cut."""
    edge = UpstreamEdge()
    results = edge.send()
    server = edge.accept()
    server.say(OK)
    delivered(results[0])
    server.say(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert server.transport.ended == "aborted"


def test_idle_connections_do_not_stay_for_ever():
    """They are closed before the usual server closes them."""
    edge = UpstreamEdge()
    results = edge.send()
    server = edge.accept()
    server.say(OK)
    delivered(results[0])
    edge.advance(60)
    assert server.transport.ended == "aborted"


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000,
    ],
)
def test_nonsense_is_a_protocol_error(raw):
    """And the connection is cut."""
    edge = UpstreamEdge()
    results = edge.send()
    server = edge.accept()
    server.say(raw)
    assert [type(result) for result in results] == [UpstreamProtocolError] or server.transport.ended
    server.lose(ConnectionLost)
    assert [type(result) for result in results] == [UpstreamProtocolError]
    assert server.transport.ended == "aborted"


def test_refused_connection_was_not_sent():
    """Nothing went out, so it may be tried again elsewhere."""
    edge = UpstreamEdge()
    results = edge.send()
    edge.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(ConnectionRefusedError()))
    edge.advance(1)
    assert (type(results[0]), results[0].sent) == (UpstreamUnreachable, "no")


@pytest.mark.parametrize(("requests", "sent"), [(1, "yes"), (2, "stale")])
def test_lost_connection_says_how_far_the_request_got(requests, sent):
    """A reused connection that dies at once was stale; a fresh one may have been acted on."""
    edge = UpstreamEdge()
    results = edge.send()
    server = edge.accept()
    if requests == 2:
        server.say(OK)
        delivered(results[0])
        results = edge.send()
    server.lose(ConnectionLost)
    assert (type(results[0]), results[0].sent) == (UpstreamUnreachable, sent)


@pytest.mark.parametrize(
    ("raw", "error", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", ConnectionDone, False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", ConnectionDone, False),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", ConnectionDone, True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", ConnectionLost, False),
    ],
)
def test_end_of_a_body_is_judged_by_its_framing(raw, error, whole):
    """Only a close-delimited body is whole at an orderly end, and at no other."""
    edge = UpstreamEdge()
    results = edge.send()
    server = edge.accept()
    server.say(raw)
    reader = delivered(results[0])
    server.lose(error)
    assert (reader.data, reader.end is ResponseDone) == (b"abc", whole)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"3\r\nabc\r\n0\r\nX: " + b"y" * 17_000 + b"\r\n\r\n"],
        [b"3\r\nabc\r\n0\r\n", *[b"X: y\r\n" * 100] * 50, b"\r\n"],
        [b"3\r\nabc\r\n", b"3;", *[b"y" * 1000] * 18],
    ],
    ids=["trailer", "trailers", "extension"],
)
def test_too_much_besides_a_body_breaks_it(pieces):
    """What came of the body arrives, and no end of it; the connection brings no other answer."""
    edge = UpstreamEdge()
    results = edge.send()
    server = edge.accept()
    server.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces[0])
    reader = delivered(results[0])
    for piece in pieces[1:]:
        if server.transport.ended is None:
            server.say(piece)
    assert (reader.data, reader.end) == (b"abc", UpstreamProtocolError)
    assert server.transport.ended == "aborted"


def test_cancelled_request_aborts():
    """Before the connection, and before the answer."""
    edge = UpstreamEdge()
    connecting = edge.send()
    edge.last.cancel()
    assert isinstance(connecting[0], CancelledError)
    waiting = edge.send()
    server = edge.accept()
    edge.last.cancel()
    assert server.transport.ended == "aborted"
    server.lose(ConnectionLost)
    assert isinstance(waiting[0], CancelledError)


def test_discarded_body_aborts():
    """Nobody reads on only to throw away."""
    edge = UpstreamEdge()
    results = edge.send()
    server = edge.accept()
    server.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    results[0].discard()
    assert server.transport.ended == "aborted"


def test_undelivered_body_is_not_read_on():
    """Until somebody takes it, the kernel keeps it; pauses reach the socket."""
    edge = UpstreamEdge()
    results = edge.send()
    server = edge.accept()
    server.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    assert server.transport.producerState == "paused"
    delivered(results[0])
    assert server.transport.producerState == "producing"
    results[0].body.pauseProducing()
    assert server.transport.producerState == "paused"
    results[0].body.resumeProducing()
    assert server.transport.producerState == "producing"


class Full(Reader):
    """Takes what is there, and asks for a pause."""

    def dataReceived(self, data):
        super().dataReceived(data)
        self.transport.pauseProducing()


def test_reader_that_is_full_at_the_first_bytes_is_given_no_more():
    """A pause asked for during delivery lasts, also for a tunnel's first bytes."""
    edge = UpstreamEdge()
    results = edge.send()
    server = edge.accept()
    server.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    reader = Full()
    results[0].deliverBody(reader)
    assert (reader.data, server.transport.producerState) == (b"abc", "paused")


@pytest.mark.parametrize("timeouts", [{"first_byte": 3.0}, {"total": 3.0}])
def test_late_answer_is_a_timeout(timeouts):
    """The deadline cuts the connection."""
    edge = UpstreamEdge(**timeouts)
    results = edge.send()
    server = edge.accept()
    edge.advance(2)
    assert results == []
    edge.advance(2)
    server.lose(ConnectionLost)
    assert [type(result) for result in results] == [UpstreamTimeout]
    assert server.transport.ended == "aborted"


def test_late_connection_is_a_timeout_that_was_not_sent():
    """Connecting has a deadline of its own."""
    edge = UpstreamEdge(connect=2.0)
    results = edge.send()
    edge.advance(3)
    assert (type(results[0]), results[0].sent) == (UpstreamTimeout, "no")


def test_silent_body_is_a_timeout():
    """Idle counts between two reads."""
    edge = UpstreamEdge(idle=3.0)
    results = edge.send()
    server = edge.accept()
    server.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    reader = delivered(results[0])
    edge.advance(2)
    server.say(b"d")
    edge.advance(2)
    assert server.transport.ended is None
    edge.advance(3)
    server.lose(ConnectionLost)
    assert reader.end is UpstreamTimeout


@implementer(IBodyProducer)
class Upload:
    """A body producer driven by hand."""

    def __init__(self, length):
        self.length = length
        self.stopped = False

    def startProducing(self, consumer):
        self.consumer = consumer
        self.done = Deferred()
        return self.done

    def pauseProducing(self):
        """Nothing to pause."""

    def resumeProducing(self):
        """Nothing to resume."""

    def stopProducing(self):
        self.stopped = True


@pytest.fixture
def uploading():
    """Start a chunked upload: (edge, server, upload, results)."""
    edge, upload = UpstreamEdge(), Upload(UNKNOWN_LENGTH)
    results = edge.send(b"POST", pairs=[(b"Transfer-Encoding", b"chunked")], data=upload)
    server = edge.accept()
    server.take()
    return edge, server, upload, results


def test_upload_is_framed_chunk_by_chunk(uploading):
    """Every write is a chunk; the end mark comes with the end."""
    _, server, upload, results = uploading
    upload.consumer.write(b"hello")
    assert server.take() == b"5\r\nhello\r\n"
    upload.done.callback(None)
    assert server.take() == b"0\r\n\r\n"
    server.say(OK)
    assert results[0].code == 200


def test_failed_upload_is_never_ended(uploading):
    """A torn body is cut, not finished."""
    _, server, upload, results = uploading
    upload.consumer.write(b"hello")
    upload.done.errback(Failure(ValueError("the client left")))
    assert server.take() == b"5\r\nhello\r\n"
    assert server.transport.ended == "aborted"
    server.lose(ConnectionLost)
    assert isinstance(results[0], ValueError)


def test_early_answer_ends_upload_and_connection(uploading):
    """The answer counts; nobody else gets a connection with half a body on it."""
    edge, server, upload, results = uploading
    server.say(OK)
    assert delivered(results[0]).data == b"ok"
    assert upload.stopped
    edge.send()
    assert edge.connects == 2


def test_stopped_agent_closes_idle_connections_and_lets_busy_ones_finish():
    """As a reload wants it."""
    edge = UpstreamEdge()
    idle, busy = edge.send(), None
    first = edge.accept()
    busy = edge.send()
    second = edge.accept()
    first.say(OK)
    delivered(idle[0])
    edge.agent.stop()
    assert (first.transport.ended, second.transport.ended) == ("aborted", None)
    second.say(OK)
    assert delivered(busy[0]).data == b"ok"
    assert second.transport.ended == "aborted"


def test_stopped_agent_keeps_the_deadlines_of_what_still_asks_it():
    """A retry that began before a reload must not wait for it for ever."""
    edge = UpstreamEdge(first_byte=3.0)
    edge.agent.stop()
    results = edge.send()
    server = edge.accept()
    edge.advance(4)
    server.lose(ConnectionLost)
    assert [type(result) for result in results] == [UpstreamTimeout]
    assert server.transport.ended == "aborted"
    edge.advance(1)
    assert edge.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("spoke", [True, False], ids=["spoke", "aged"])
def test_idle_connection_that_is_being_cut_is_not_used_again(spoke):
    """An abort takes a turn of the reactor; a request that comes in it asks for a new connection."""
    edge = UpstreamEdge()
    results = edge.send()
    server = edge.accept()
    server.say(OK)
    delivered(results[0])
    if spoke:
        server.say(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    else:
        edge.advance(60)
    assert edge.agent.open_connections == 0
    edge.send()
    assert edge.connects == 2


class Leaver(Reader):
    """Gives a body back while the last of it is delivered."""

    def __init__(self, response):
        super().__init__()
        self.response = response

    def dataReceived(self, data):
        self.response.discard()


def test_connection_discarded_at_its_last_bytes_is_not_used_again():
    """It is being cut, although its answer was whole."""
    edge = UpstreamEdge()
    results = edge.send()
    server = edge.accept()
    server.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    results[0].deliverBody(Leaver(results[0]))
    server.say(b"ok")
    assert server.transport.ended == "aborted"
    edge.send()
    assert edge.connects == 2


def test_a_defect_in_one_connection_leaves_the_others_their_deadlines():
    """The sweeper goes on."""
    edge = UpstreamEdge(first_byte=3.0)
    servers = []
    for _ in range(2):
        edge.send()
        servers.append(edge.accept())
    servers[0].protocol.sweep = lambda now: 1 / 0
    edge.advance(4)
    assert [server.transport.ended for server in servers] == ["aborted", "aborted"]


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(
    ("method", "data", "again"),
    [
        (b"GET", b"x", False),
        (b"HEAD", b"x", False),
        (b"OPTIONS", b"x", False),
        (b"GET", b"", True),
        (b"POST", b"x", True),
        (b"DELETE", b"x", True),
    ],
)
def test_a_connection_that_carried_an_odd_body_is_not_used_again(method, data, again, kept):
    """A server that ignores the body of a GET reads it as the next request."""
    edge = UpstreamEdge()
    if kept:
        results = edge.send()
        edge.accept().say(OK)
        delivered(results[0])
    lines = [(b"Content-Length", b"%d" % len(data))] if data else []
    results = edge.send(method, b"/v1/models", lines, data=data or None)
    server = edge.servers[0] if kept else edge.accept()
    server.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    delivered(results[0])
    edge.send()
    assert edge.connects == (1 if again else 2)
