"""What a stream lets go of once it has begun, and what is there all the same. In memory."""

import weakref

import pytest
from fakes import Body, Downstream, response

from openai_proxy.downstream.body import IncomingBody

BODY = b'{"model":"m","stream":true,"messages":[]}'
LINES = [
    (b"Host", b"x"),
    (b"Content-Type", b"application/json"),
    (b"X-Twice", b"1"),
    (b"X-Twice", b"2: 3"),
    (b"Content-Length", b"%d" % len(BODY)),
]
ASK = b"POST /v1/chat/completions HTTP/1.1\r\n%b\r\n\r\n%b" % (b"\r\n".join(map(b": ".join, LINES)), BODY)
EVENT = b"data: 1\n\n"
ANSWERED = [(b"Content-Type", b"text/event-stream"), (b"x-request-id", b"req_1")]


class Streams:
    """Answers each request with a stream that says one event, and goes on."""

    def __init__(self):
        self.bodies = []
        self.asked = []

    async def __call__(self, request):
        self.asked.append(request.target)
        if isinstance(request.body, bytes):
            request.exchange.request_body = request.body
        body = Body()
        self.bodies.append(body)
        return response(body, *ANSWERED)


@pytest.fixture
def streams():
    return Streams()


def begun(streams, capture=None):
    """Return an edge and a connection on which a stream has begun."""
    edge = Downstream(streams)
    edge.site.capture = capture
    connection = edge.connect()
    assert connection.send(ASK).startswith(b"HTTP/1.1 200 OK\r\n")
    streams.bodies[0].feed(EVENT)
    assert EVENT in connection.send()
    return edge, connection


def running(edge):
    (exchange,) = edge.api.running
    return exchange


def test_observers_have_the_lines_of_both_heads(streams):
    """In order and case, repeated ones too, as without a stream."""
    edge, _ = begun(streams)
    streams.bodies[0].end()
    (ended,) = edge.published
    assert list(ended.request_headers) == LINES
    assert list(ended.response_headers) == ANSWERED


def test_nothing_else_holds_the_head_and_the_body_of_the_request(streams):
    """A prompt of 20 KB is not held for minutes, in case somebody asks for it: nobody will."""
    edge, connection = begun(streams)
    current = connection.channel.current
    assert running(edge).request_body is None
    assert current.incoming.body.data == b""
    assert [*current.incoming.pairs, *current.pairs, *current.incoming.head.forward] == []


def test_an_observer_that_wants_bodies_has_the_requests(streams):
    """The exchange log of a stream has the prompt."""

    class Capture:
        def response_filter(self, headers):
            class Passes:
                transparent = True
                feed = staticmethod(lambda data: data)
                finish = staticmethod(lambda: b"")

            return Passes()

    edge, _ = begun(streams, Capture)
    assert running(edge).request_body == BODY


def test_the_coroutine_of_the_stages_is_freed(streams):
    """It holds its frame as long as it is held."""
    seen = []
    edge = Downstream(streams)
    run = edge.api.forward

    def watched(request):
        coroutine = run(request)
        seen.append(weakref.ref(coroutine))
        return coroutine

    edge.api.forward = watched
    edge.connect().send(ASK)
    assert [each() for each in seen] == [None]


@pytest.mark.parametrize("cut", range(1, len(ASK) - len(BODY), 7))
def test_the_next_request_is_read_by_a_parser_of_its_own(streams, cut):
    """Whatever of it has come while the stream went on, or comes after it."""
    _, connection = begun(streams)
    assert connection.send(ASK[:cut]) == b""
    streams.bodies[0].end()
    connection.send(ASK[cut:])
    streams.bodies[1].feed(EVENT)
    streams.bodies[1].end()
    assert connection.send().endswith(b"0\r\n\r\n")
    assert streams.asked == [b"/chat/completions"] * 2
    assert connection.ended is None


def test_a_pipelined_request_whose_head_is_half_read_goes_on(streams):
    """Its parser is not let go of: both came in one read, the second one cut."""
    edge = Downstream(streams)
    connection = edge.connect()
    connection.send(ASK + ASK[:40])
    streams.bodies[0].end()
    connection.send(ASK[40:])
    assert streams.asked == [b"/chat/completions"] * 2


def test_a_client_that_leaves_ends_the_exchange_once(streams):
    """As before it began."""
    edge, connection = begun(streams)
    connection.lose()
    assert edge.outcomes == ["client_gone"]
    assert streams.bodies[0].discards == 1


def test_a_stream_that_is_answered_early_takes_the_rest_of_the_upload(streams):
    """The body still comes: the bytes that follow belong to it, and none is kept for another attempt."""
    edge = Downstream(streams)
    connection = edge.connect()
    connection.send(
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nContent-Length: 6\r\n\r\nabc"
    )
    body = connection.channel.current.incoming.body
    assert isinstance(body, IncomingBody)
    assert not body.rewindable
    assert not body.rewind()
    connection.send(b"def")
    assert (body.complete, body.received) == (True, 6)
    streams.bodies[0].end()
    assert edge.outcomes == ["complete"]
