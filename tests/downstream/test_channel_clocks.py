"""How long a client's connection waits for what, and what is no fault of the client."""

import pytest
from fakes import Downstream, HeldForward, SocketPair, error_of
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/files HTTP/1.1\r\nHost: a\r\n"
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.fixture
def waiting():
    """Let every request wait for the test's answer."""
    return HeldForward()


def test_slow_head_is_timed_out():
    """The clock runs from the first byte to the end of the head, whatever trickles in."""
    downstream = Downstream(header_timeout_s=3)
    connection = downstream.connect()
    answer = b""
    for byte in b"GET /v1":
        answer += connection.send(bytes([byte]))
        downstream.advance(0.5)
    assert error_of(answer + connection.transport.take()) == (408, "request_timeout")
    assert connection.ended or connection.transport.half_closed


def test_silent_connection_is_closed_without_a_word():
    """Nobody asked anything, so nobody is answered."""
    downstream = Downstream(header_timeout_s=3)
    connection = downstream.connect()
    downstream.advance(4)
    assert (connection.transport.take(), connection.ended) == (b"", "closed")
    assert connection.transport.producer is None  # a TLS transport would wait for it for ever


def test_idle_connection_is_closed():
    """Between two requests another clock runs."""
    downstream = Downstream(header_timeout_s=1, keep_alive_s=5)
    connection = downstream.connect()
    connection.send(GET + b"\r\n")
    downstream.advance(4)
    assert connection.ended is None
    downstream.advance(2)
    assert connection.ended == "closed"


def test_running_request_has_no_clock_towards_the_client(waiting):
    """A model may think for an hour."""
    downstream = Downstream(waiting, header_timeout_s=1, keep_alive_s=1)
    connection = downstream.connect()
    connection.send(GET + b"\r\n")
    downstream.advance(60)
    assert connection.ended is None


def test_crawling_body_is_timed_out():
    """An upload below the least rate is ended after its grace."""
    downstream = Downstream(body_min_bytes_per_s=100)
    connection = downstream.connect()
    connection.send(POST + b"Content-Length: 1000\r\n\r\n")
    answer = b""
    for _ in range(8):
        answer += connection.send(b"x")
        downstream.advance(1)
    assert error_of(answer) == (408, "request_timeout")


def test_time_in_which_we_hold_the_body_back_does_not_count(waiting):
    """A client is not blamed for our own back-pressure."""
    downstream = Downstream(waiting, body_min_bytes_per_s=100)
    connection = downstream.connect()
    connection.send(POST + b"Content-Length: 1000000\r\n\r\n", b"x" * 100_000)
    assert connection.transport.producerState == "paused"
    downstream.advance(60)
    assert (connection.transport.take(), connection.ended) == (b"", None)


def test_client_that_does_not_read_is_cut(waiting):
    """Without progress for write_stall_s the connection and the upstream's go."""
    downstream = Downstream(waiting, write_stall_s=5)
    connection = downstream.connect()
    connection.send(GET + b"\r\n")
    waiting.answer().feed(b"x")
    connection.transport.producer.pauseProducing()
    downstream.advance(8)
    assert connection.ended == "aborted"


def test_client_that_reads_slowly_gets_the_next_answer_too(waiting):
    """No clock for heads runs while it still takes the answer before."""
    downstream = Downstream(waiting, header_timeout_s=2, keep_alive_s=2, write_stall_s=600)
    connection = downstream.connect()
    connection.send(GET + b"\r\n", GET + b"\r\n")
    connection.channel.pauseProducing()
    waiting.answer().end()
    downstream.advance(30)
    assert connection.ended is None
    connection.channel.resumeProducing()
    assert len(waiting.calls) == 2


def test_client_that_waits_for_100_continue_is_not_too_slow(waiting):
    """It is we who hold its body back until the request is admitted and the upstream is there."""
    downstream = Downstream(waiting)
    connection = downstream.connect()
    connection.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    downstream.advance(30)
    body = waiting.requests[0].body
    reading = Deferred.fromCoroutine(body.read(10))
    assert connection.transport.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    downstream.advance(4)
    connection.send(b"hello")
    assert reading.result == b"hello"


def test_half_a_head_behind_a_whole_request_is_timed_out():
    """As soon, and with the same answer, as any other."""
    downstream = Downstream(header_timeout_s=3, keep_alive_s=60)
    connection = downstream.connect()
    connection.send(GET + b"\r\n" + GET)
    downstream.advance(4)
    assert error_of(connection.transport.take()) == (408, "request_timeout")


def test_a_defect_in_one_connection_leaves_the_others_their_clocks():
    """The sweeper goes on."""
    downstream = Downstream(header_timeout_s=3)
    broken, well = downstream.connect(), downstream.connect()
    broken.channel.reader = None
    downstream.advance(5)
    assert (broken.ended, well.ended) == ("aborted", "closed")


@pytest.mark.parametrize("draining", [False, True])
def test_an_idle_connection_is_not_closed_while_a_request_waits_in_the_kernel(draining):
    """Our close would take the request away: POSTs of pools that use the proxy failed now and then."""
    downstream = Downstream(keep_alive_s=1)
    pair = SocketPair(tcp.Server, MemoryReactorClock())
    try:
        connection = downstream.connect()
        assert b" 200 " in connection.send(GET + b"\r\n")
        connection.channel.transport = pair.transport
        pair.peer.sendall(b"P")
        if draining:
            downstream.site.drain()
        else:
            downstream.advance(1.25)
        assert not pair.transport.disconnecting
        pair.transport.socket.recv(1)
        downstream.advance(2)
        assert pair.transport.disconnecting
    finally:
        pair.close()


@pytest.mark.parametrize(
    "begun",
    [
        GET,
        POST + b"Content-Length: 500\r\n\r\nx",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        CHAT + b'Content-Length: 500\r\n\r\n{"model"',
    ],
)
def test_what_waits_in_the_kernel_is_not_late(begun):
    """A daemon that had no processor for seconds answered 408 to a client that was sending all the time."""

    async def reads(request):
        return await request.body.read(1 << 20)

    downstream = Downstream(reads, header_timeout_s=3)
    pair = SocketPair(tcp.Server, MemoryReactorClock())
    try:
        connection = downstream.connect()
        assert connection.send(begun) == b""
        fake, connection.channel.transport = connection.channel.transport, pair.transport
        pair.peer.sendall(b"x")
        downstream.clock.advance(8)
        assert (fake.take(), pair.transport.disconnecting) == (b"", False)
        pair.transport.socket.recv(1)
        connection.channel.transport = fake
        downstream.advance(12)
        assert error_of(fake.take()) == (408, "request_timeout")
    finally:
        pair.close()
