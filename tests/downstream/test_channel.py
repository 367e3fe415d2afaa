"""A client's connection: order, back-pressure, clients that leave, defects and draining, without a socket."""

import pytest
from fakes import Body, Downstream, HeldForward, error_of, response
from logged import log_events
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from openai_proxy.exchange.upstream_errors import UpstreamUnreachable

GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/files HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture
def waiting():
    """Let every request wait for the test's answer."""
    return HeldForward()


def test_pipeline_is_answered_in_order_and_one_at_a_time(waiting):
    """The second question goes up once the first is answered."""
    connection = Downstream(waiting).connect()
    connection.send(GET + b"\r\n" + GET.replace(b"models", b"files") + b"\r\n")
    assert len(waiting.calls) == 1
    body = waiting.answer()
    body.feed(b"one")
    body.end()
    assert [request.target for request in waiting.requests] == [b"/models", b"/files"]
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
    waiting.calls[0].errback(Failure(UpstreamUnreachable()))
    assert error_of(connection.transport.take()) == (502, "upstream_unreachable")
    assert connection.ended is None


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


def test_requests_in_flight_are_limited_and_counted_down(waiting):
    """A slot is free again when its exchange ends, however it ends."""
    downstream = Downstream(waiting, in_flight=1)
    first, second = downstream.connect(), downstream.connect()
    first.send(GET + b"\r\n")
    assert error_of(second.send(GET + b"\r\n")) == (503, "overloaded")
    first.lose()
    second.send(GET + b"\r\n")
    assert len(waiting.calls) == 2


def test_defect_of_a_stage_is_an_internal_error(waiting):
    """The client learns nothing but that it is ours; the log has the traceback."""
    with log_events() as logged:
        connection = Downstream(waiting).connect()
        connection.send(GET + b"\r\n")
        waiting.calls[0].errback(Failure(ZeroDivisionError("secret")))
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
    assert len(waiting.calls) == 1
    connection.channel.resumeProducing()
    assert connection.transport.producerState == "producing"
    assert len(waiting.calls) == 2


def test_draining_site_closes_behind_an_answer_that_is_still_taken(waiting):
    """A request pipelined after it is not begun."""
    downstream = Downstream(waiting)
    connection = downstream.connect()
    connection.send(GET + b"\r\n", GET + b"\r\n")
    connection.channel.pauseProducing()
    waiting.answer().end()
    downstream.site.drain()
    assert connection.ended == "closed"
    assert len(waiting.calls) == 1


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
    waiting.calls[-1].callback(response(body).evolve(filters=(Broken(),)))
    assert body.discards == 1
    assert connection.ended == "aborted"
