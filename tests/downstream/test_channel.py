"""A client's connection: framing, order, clocks and back-pressure, without a socket."""

import json

import pytest
from fakes import Body, Downstream, SocketPair, response
from logged import log_events
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from openai_proxy.exchange.upstream_errors import UpstreamUnreachable

GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/files HTTP/1.1\r\nHost: a\r\n"
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


class Waiting:
    """A `forward` answered by hand: each request is (request, Deferred)."""

    def __init__(self):
        self.running = []
        self.cancelled = []

    def __call__(self, request):
        return self._wait(request)

    async def _wait(self, request):
        head = Deferred(lambda _: self.cancelled.append(request))
        self.running.append((request, head))
        return await head

    def answer(self, number=-1, body=None, **options):
        body = body or Body()
        self.running[number][1].callback(response(body, **options))
        return body


@pytest.fixture
def waiting():
    """Let every request wait for the test's answer."""
    return Waiting()


def error_of(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)["error"]["code"]


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_request_is_the_same_in_any_pieces(size):
    """Whole or byte by byte: one request, one answer."""
    raw = POST + b"Content-Length: 5\r\nX: y\r\n\r\nhello"
    downstream = Downstream()
    answer = downstream.connect().send(*(raw[i : i + size] for i in range(0, len(raw), size)))
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert downstream.forward.bodies == [b"hello"]
    assert downstream.forward.requests[0].headers == [(b"Content-Length", b"5"), (b"X", b"y")]
    assert downstream.outcomes == ["complete"]


def test_pipeline_is_answered_in_order_and_one_at_a_time(waiting):
    """The second question goes up once the first is answered."""
    connection = Downstream(waiting).connect()
    connection.send(GET + b"\r\n" + GET.replace(b"models", b"files") + b"\r\n")
    assert len(waiting.running) == 1
    body = waiting.answer()
    body.feed(b"one")
    body.end()
    assert [request.target for request, _ in waiting.running] == [b"/models", b"/files"]
    assert b"one" in connection.transport.take()


def test_much_of_a_pipeline_pauses_reading(waiting):
    """Data that wait for a running request are bounded."""
    connection = Downstream(waiting).connect()
    connection.send(GET + b"\r\n")
    for _ in range(20):
        connection.send(GET + b"X: " + b"y" * 1000 + b"\r\n\r\n")
    assert connection.transport.producerState == "paused"


def test_client_that_leaves_cancels_what_runs(waiting):
    """The stages hear of it at their await."""
    downstream = Downstream(waiting)
    connection = downstream.connect()
    connection.send(GET + b"\r\n")
    connection.lose(ConnectionLost())
    assert len(waiting.cancelled) == 1
    assert downstream.outcomes == ["client_gone"]


def test_client_that_leaves_a_stream_discards_it(waiting):
    """A body on its way is given back."""
    downstream = Downstream(waiting)
    connection = downstream.connect()
    connection.send(GET + b"\r\n")
    body = waiting.answer()
    body.feed(b"x")
    connection.lose()
    assert body.discards == 1
    assert downstream.outcomes == ["client_gone"]


def test_broken_body_resets_the_connection(waiting):
    """No last chunk, no orderly close."""
    connection = Downstream(waiting).connect()
    connection.send(GET + b"\r\n")
    body = waiting.answer()
    body.feed(b"x")
    body.cut()
    assert connection.transport.take().endswith(b"1\r\nx\r\n")
    assert connection.ended == "aborted"


@pytest.mark.parametrize("rest", [b"", b"cdef"])
def test_answer_before_the_end_of_an_upload_says_that_it_is_the_last(waiting, rest):
    """The connection was closed without a word, perhaps under the client's next request."""
    connection = Downstream(waiting).connect()
    connection.send(POST + b"Content-Length: 6\r\n\r\nab")
    body = waiting.answer()
    assert b"\r\nConnection: close\r\n" in connection.transport.take()
    connection.send(rest)
    body.end()
    assert connection.ended == "closed" or connection.transport.half_closed


def test_full_client_pauses_the_body(waiting):
    """The transport's producer is the channel, and behind it the upstream."""
    connection = Downstream(waiting).connect()
    connection.send(GET + b"\r\n")
    body = waiting.answer()
    connection.transport.producer.pauseProducing()
    assert body.paused
    connection.transport.producer.resumeProducing()
    assert not body.paused


def test_error_of_a_stage_is_rendered(waiting):
    """Only the web edge turns errors into answers."""
    connection = Downstream(waiting).connect()
    connection.send(GET + b"\r\n")
    waiting.running[0][1].errback(Failure(UpstreamUnreachable()))
    assert error_of(connection.transport.take()) == (502, "upstream_unreachable")
    assert connection.ended is None


@pytest.mark.parametrize(
    ("raw", "limits", "expected"),
    [
        (b"GET /v1/m?" + b"a" * 99, {"target_bytes": 50}, (414, "uri_too_long")),
        (GET + b"X: " + b"y" * 600 + b"\r\n\r\n", {"header_bytes": 500}, (431, "headers_too_large")),
        (GET + b"X: y\r\n" * 9 + b"\r\n", {"header_count": 5}, (431, "headers_too_large")),
        (POST + b"Content-Length: 7\r\n\r\nabcdef", {"body_bytes": 5}, (413, "request_too_large")),
        (
            POST + b"Transfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n",
            {"body_bytes": 5},
            (413, "request_too_large"),
        ),
    ],
)
def test_sizes_are_limited(raw, limits, expected):
    """Each limit has its own answer."""

    async def reads(request):
        body = request.body
        return await body.read(1 << 20)

    connection = Downstream(reads, **limits).connect()
    answer = connection.send(raw)
    assert error_of(answer) == expected
    assert b"Connection: close\r\n" in answer


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


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (GET, True),
        (GET + b"Connection: close\r\n", False),
        (GET.replace(b"1.1", b"1.0"), False),
        (GET.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n", True),
    ],
)
def test_connection_is_kept_as_asked(raw, kept):
    """RFC 9112 §9.3, and the answer says so."""
    connection = Downstream().connect()
    answer = connection.send(raw + b"\r\n")
    assert b"Connection: close" not in answer if kept else b"Connection: close" in answer
    assert connection.ended == (None if kept else "closed")


def test_draining_site_closes_idle_connections_and_answers_begun_ones():
    """No connection is kept after an answer any more."""
    downstream = Downstream()
    idle, begun = downstream.connect(), downstream.connect()
    begun.send(b"GET /health HTTP/1.1\r\n")
    downstream.site.drain()
    assert (idle.ended, begun.ended) == ("closed", None)
    assert b"Connection: close" in begun.send(b"Host: a\r\n\r\n")
    assert begun.ended == "closed"


def test_draining_site_does_not_wait_long_for_the_rest_of_a_head():
    """A client that stopped in the middle of a head held the daemon's end up for its whole header timeout."""
    downstream = Downstream(header_timeout_s=15)
    kept, begun = downstream.connect(), downstream.connect()
    begun.send(b"GET /health HTTP/1.1\r\n")
    kept.send(GET + b"\r\n" + GET)
    downstream.site.drain()
    downstream.advance(2)
    for connection in (kept, begun):
        assert error_of(connection.transport.take()) == (503, "shutting_down")
        assert connection.ended or connection.transport.half_closed


def test_connection_over_the_limit_is_answered_and_closed():
    """Overload has an answer of its own."""
    downstream = Downstream(connections=1)
    downstream.connect()
    second = downstream.connect()
    assert error_of(second.send(GET + b"\r\n")) == (503, "overloaded")
    assert second.ended == "closed"


def test_pages_are_rendered_by_ordinary_resources():
    """The service's own pages and the API share a port."""
    connection = Downstream().connect()
    answer = connection.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b'{"status":"healthy"}\n')
    assert error_of(connection.send(b"POST /health HTTP/1.1\r\nHost: a\r\n\r\n")) == (
        405,
        "method_not_allowed",
    )
    assert error_of(connection.send(b"GET /health/x HTTP/1.1\r\nHost: a\r\n\r\n")) == (404, "unknown_url")
    assert connection.ended is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"GET /nope HTTP/1.1\r\nHost: a\r\n\r\n", (404, "unknown_url")),
        (b"GET /v1/embeddings HTTP/1.1\r\nHost: a\r\n\r\n", (405, "method_not_allowed")),
        (b"GET http://evil.test/v1/models HTTP/1.1\r\nHost: a\r\n\r\n", (421, "misdirected_request")),
        (GET + b"Via: " + b"1.1 openai-proxy, " * 5 + b"1.1 x\r\n\r\n", (508, "proxy_loop")),
    ],
)
def test_refusals_by_the_head_alone(raw, expected):
    """What needs no body is decided before one is read."""
    downstream = Downstream()
    assert error_of(downstream.connect().send(raw)) == expected
    assert downstream.forward.requests == []


@pytest.mark.parametrize("method", [b"PROPFIND", b"BREW", b"get"], ids=["known", "unknown", "lower case"])
@pytest.mark.parametrize(
    ("target", "status", "allow"),
    [
        (b"/v1/models", 405, b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        (b"/embeddings?x", 405, b"POST, OPTIONS"),
        (b"/v1/chat/completions", 405, b"GET, HEAD, POST, OPTIONS"),
        (b"/health", 405, b"GET, HEAD, OPTIONS"),
        (b"/nope", 404, None),
        (b"/v1/../x", 400, None),
    ],
)
def test_foreign_methods_are_told_what_the_place_takes(method, target, status, allow):
    """A method that the parser had never heard of was answered with every method of the API, at any path."""
    downstream = Downstream()
    answer = downstream.connect().send(method + b" " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert error_of(answer)[0] == status
    allowed = [line[7:] for line in answer.split(b"\r\n") if line.startswith(b"Allow: ")]
    assert allowed == ([] if allow is None else [allow])
    assert downstream.forward.requests == []


def test_connect_is_a_method_that_nobody_has_here():
    """RFC 9110 §9.3.6: an origin server need not know it; it was called malformed."""
    connection = Downstream().connect()
    answer = connection.send(b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n")
    assert error_of(answer) == (405, "method_not_allowed")
    assert b"\r\nAllow: GET, " in answer
    assert connection.ended == "closed"


def test_chain_of_proxies_passes():
    """Four times our own name is a chain, not a loop."""
    answer = Downstream().connect().send(GET + b"Via: " + b"1.1 openai-proxy, " * 4 + b"1.1 x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_requests_in_flight_are_limited_and_counted_down(waiting):
    """A slot is free again when its exchange ends, however it ends."""
    downstream = Downstream(waiting, in_flight=1)
    first, second = downstream.connect(), downstream.connect()
    first.send(GET + b"\r\n")
    assert error_of(second.send(GET + b"\r\n")) == (503, "overloaded")
    first.lose()
    second.send(GET + b"\r\n")
    assert len(waiting.running) == 2


def test_defect_of_a_stage_is_an_internal_error(waiting):
    """The client learns nothing but that it is ours; the log has the traceback."""
    with log_events() as logged:
        connection = Downstream(waiting).connect()
        connection.send(GET + b"\r\n")
        waiting.running[0][1].errback(Failure(ZeroDivisionError("secret")))
        answer = connection.transport.take()
    assert error_of(answer) == (500, "internal_error")
    assert b"secret" not in answer
    assert [event["log_failure"].type for event in logged if "log_failure" in event] == [ZeroDivisionError]


def test_client_that_pipelines_and_does_not_read_is_not_read_either(waiting):
    """Data that wait for an answer that the client has not taken are bounded like all read-ahead."""
    downstream = Downstream(waiting)
    connection = downstream.connect()
    connection.send(GET + b"\r\n")
    connection.channel.pauseProducing()
    waiting.answer().end()
    for _ in range(40):
        connection.send(GET + b"X: " + b"y" * 1000 + b"\r\n\r\n")
    assert connection.transport.producerState == "paused"
    assert len(waiting.running) == 1
    connection.channel.resumeProducing()
    assert connection.transport.producerState == "producing"
    assert len(waiting.running) == 2


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
    assert len(waiting.running) == 2


def test_draining_site_closes_behind_an_answer_that_is_still_taken(waiting):
    """A request pipelined after it is not begun."""
    downstream = Downstream(waiting)
    connection = downstream.connect()
    connection.send(GET + b"\r\n", GET + b"\r\n")
    connection.channel.pauseProducing()
    waiting.answer().end()
    downstream.site.drain()
    assert connection.ended == "closed"
    assert len(waiting.running) == 1


def test_client_that_waits_for_100_continue_is_not_too_slow(waiting):
    """It is we who hold its body back until the request is admitted and the upstream is there."""
    downstream = Downstream(waiting)
    connection = downstream.connect()
    connection.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    downstream.advance(30)
    body = waiting.running[0][0].body
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


class Broken:
    """A filter with a defect."""

    transparent = False

    def feed(self, data):
        raise ZeroDivisionError

    def finish(self):
        return b""


def test_defect_of_a_filter_gives_the_body_back(waiting):
    """Else the upstream would go on for nobody."""
    downstream = Downstream(waiting)
    connection = downstream.connect()
    connection.send(GET + b"\r\n")

    class Begun(Body):
        def deliverBody(self, protocol):
            super().deliverBody(protocol)
            self.feed(b"x")

    body = Begun()
    waiting.running[-1][1].callback(response(body).evolve(filters=(Broken(),)))
    assert body.discards == 1
    assert connection.ended == "aborted"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("target", [b"/", b"/health"])
def test_balancers_may_check_with_options_and_head(target, version):
    """HAProxy's bare `option httpchk` asks `OPTIONS / HTTP/1.0`: with 405 the server counted as down."""
    downstream = Downstream()
    for method in (b"OPTIONS", b"HEAD"):
        answer = downstream.connect().send(b"%b %b HTTP/%b\r\nHost: a\r\n\r\n" % (method, target, version))
        assert answer.startswith(b"HTTP/%b 200 OK\r\n" % version)
        assert answer.endswith(b"\r\n\r\n")
        assert (b"Allow: GET, HEAD, OPTIONS" in answer) == (method == b"OPTIONS")
    assert b" 404 " in downstream.connect().send(b"OPTIONS /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")


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


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
)
def test_a_websocket_handshake_with_a_body_is_an_ordinary_request(framing):
    """The chunks went upstream after a head that did not announce them."""
    downstream = Downstream()
    handshake = GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + framing
    for size in (1, 7, 1000):
        connection = downstream.connect()
        answer = connection.send(*[handshake[at : at + size] for at in range(0, len(handshake), size)])
        assert b" 200 " in answer
        assert downstream.forward.requests[-1].upgrade is False
        assert downstream.forward.bodies[-1] == b"hello"
