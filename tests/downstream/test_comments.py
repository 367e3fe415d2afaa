"""Comments in streams that are silent."""

import pytest
from fakes import Body, exchange
from twisted.internet.task import Clock

from openai_proxy.downstream.comments import CHUNK, Comments
from openai_proxy.downstream.relay import Relay
from openai_proxy.exchange.messages import ProxyResponse
from openai_proxy.exchange.outcome import Outcome


class Stream:
    def __init__(self):
        self.clock, self.written, self.takes = Clock(), [], True
        self.comments = Comments(
            10.0, self.clock.seconds, self.clock.callLater, self.written.append, lambda: self.takes
        )

    def after(self, seconds):
        """Return how many comments were written in so many seconds."""
        self.written.clear()
        for _ in range(seconds):
            self.clock.advance(1.0)
        return len(self.written)


def test_silence_gets_a_comment_each_time():
    """Before the first event, too; none while events come."""
    stream = Stream()
    assert stream.after(30) == 3
    for _ in range(5):
        stream.comments.passed(b"data: 1\n\n")
        assert stream.after(6) == 0
    assert stream.after(5) == 1
    assert stream.written == [CHUNK]


@pytest.mark.parametrize("passed", [b"data: 1", b"data: 1\n", b"event: x\n", b"id: 7\r\n", b": ping\n"])
def test_no_comment_within_an_event(passed):
    """A line that has begun, or an event without its blank line."""
    stream = Stream()
    stream.comments.passed(b"data: 0\n\n")
    stream.comments.passed(passed)
    assert stream.after(30) == 0
    stream.comments.passed(b"\n\n")
    assert stream.after(11) == 1


@pytest.mark.parametrize(
    "last",
    [
        [b"data: [DONE]\n\n"],
        [b"data: [DO", b"NE]\n\n"],
        [b'event: response.completed\ndata: {"type":"response.completed"}\n\n'],
        [b'data: {"type": "response.failed"}\n\n'],
        [b'data: {"type":"transcript.text.done","text":"Hello"}\n\n'],
        [b'data: {"type":"speech.audio.done","usage":{}}\n\n'],
        [b'event: error\r\ndata: {"type":"error"}\r\n\r\n'],
    ],
)
def test_no_comment_after_the_last_event(last):
    """Readers close at it, and may not look at what follows."""
    stream = Stream()
    for piece in last:
        stream.comments.passed(piece)
    assert stream.after(30) == 0
    assert not stream.clock.getDelayedCalls()


def test_what_only_speaks_of_the_end_is_no_end():
    """The model may write anything."""
    stream = Stream()
    stream.comments.passed(b'data: {"delta":"data: [DONE] event: response.completed"}\n\n')
    assert stream.after(10) == 1


def test_a_client_that_does_not_read_gets_none():
    """They would pile up."""
    stream = Stream()
    stream.takes = False
    assert stream.after(60) == 0


class Client:
    http11, is_head, keep_alive = True, False, True

    def __init__(self):
        self.exchange, self.written, self.ended = exchange(), b"", None

    def write(self, data):
        self.written += data

    def end_exchange(self, outcome):
        self.ended = self.ended or outcome

    def response_complete(self):
        """Everything is written."""


def relayed(body):
    """Relay a stream with comments after 10 s of silence; return the clock and the client."""
    clock, client = Clock(), Client()
    response = ProxyResponse(200, b"OK", [(b"Content-Type", b"text/event-stream")], body)
    relay = Relay(client, response, client.write, clock.seconds)
    relay.keep_alive(10.0, clock.callLater)
    relay.start()
    return clock, client


def test_a_relay_writes_them_between_chunks():
    """Not counted as bytes of the answer, and over with it."""
    body = Body()
    clock, client = relayed(body)
    body.feed(b"data: 1\n\n")
    clock.advance(10.0)
    body.feed(b"data: 2\n\n")
    body.end()
    assert client.written.partition(b"\r\n\r\n")[2] == (
        b"9\r\ndata: 1\n\n\r\n" + CHUNK + b"9\r\ndata: 2\n\n\r\n" + b"0\r\n\r\n"
    )
    assert client.exchange.response_bytes == 18
    assert client.ended is Outcome.COMPLETE
    assert not clock.getDelayedCalls()


class EarlyBody(Body):
    """Its first bytes came in the read of the head."""

    def deliverBody(self, protocol):
        super().deliverBody(protocol)
        self.feed(b"data: {")


def test_a_piece_of_an_event_that_came_with_the_head_is_known():
    """A comment was written into an event whose first half had come in the read of the head."""
    body = EarlyBody()
    clock, client = relayed(body)
    clock.pump([10.0] * 3)
    body.feed(b"}\n\n")
    body.end()
    assert client.written.partition(b"\r\n\r\n")[2] == b"7\r\ndata: {\r\n3\r\n}\n\n\r\n0\r\n\r\n"


def test_a_body_that_is_not_chunked_gets_none():
    """Its length is announced, or it ends with the connection."""
    clock, client, body = Clock(), Client(), Body()
    client.http11, client.set_last = False, lambda: None
    relay = Relay(client, ProxyResponse(200, b"OK", [], body), client.write, clock.seconds)
    relay.keep_alive(10.0, clock.callLater)
    relay.start()
    assert not clock.getDelayedCalls()
