"""An answer that is no stream, although one was promised."""

import gzip
import json

import fakes
import pytest
from fakes import Body

from openai_proxy.downstream.late_error import MOST_BYTES, BrokenPromise, as_late_error
from openai_proxy.exchange.messages import ProxyResponse
from openai_proxy.exchange.outcome import Outcome

ERROR = {"error": {"message": "no room: ä", "type": "t", "param": None, "code": "c"}}


class Reader(fakes.Reader):
    def __init__(self, response):
        super().__init__()
        response.body.deliverBody(self)

    @property
    def message(self):
        assert self.data.startswith(b"data: ")
        assert self.data.endswith(b"\n\n")
        assert self.data.count(b"\n") == 2
        return json.loads(self.data[6:])["error"]["message"]


def late(status=503, **headers):
    body = Body()
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return body, Reader(as_late_error(ProxyResponse(status, b"Busy", pairs, body)))


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_error_is_told_however_it_comes(size, indent):
    """In one line, whatever pieces and lines it came in; and the stream does not end as if all was well."""
    body, reader = late()
    text = json.dumps(ERROR, indent=indent).encode()
    for at in range(0, len(text), size):
        body.feed(text[at : at + size])
        assert reader.data == b""
    body.end()
    assert reader.message == "no room: ä"
    assert isinstance(reader.reason, BrokenPromise)
    assert (reader.reason.code, reader.reason.outcome) == ("503", Outcome.UPSTREAM_ERROR)


def test_a_compressed_error_is_told():
    """The SDKs ask for compression."""
    body, reader = late(**{"content-encoding": "gzip"})
    body.feed(gzip.compress(json.dumps(ERROR).encode()))
    body.end()
    assert reader.message == "no room: ä"


@pytest.mark.parametrize(
    ("status", "headers", "text", "message"),
    [
        (502, {}, b"<html>bad gateway</html>", "The upstream answered 502."),
        (200, {}, b'{"id": "c"}', "The upstream answered 200, and not with a stream of events."),
        (500, {"content-encoding": "gzip"}, b"no gzip", "The upstream answered 500."),
    ],
)
def test_what_says_no_error_is_named(status, headers, text, message):
    """A program sees that something was wrong, and what is known of it."""
    body, reader = late(status, **headers)
    body.feed(text)
    body.end()
    assert reader.message == message


def test_a_compressed_stream_is_not_waited_for():
    """A head without compression has been sent, so that nothing of it can follow."""
    body, reader = late(200, **{"content-type": "text/event-stream", "content-encoding": "gzip"})
    assert reader.message == (
        "The upstream compressed its answer, which cannot be passed on once a comment was sent in its place."
    )
    assert body.discards


def test_an_answer_that_never_ends_is_left():
    """No more is held than an error may have, and the connection is freed."""
    body, reader = late()
    for _ in range(MOST_BYTES // 1024):
        body.feed(b"x" * 1024)
        assert reader.reason is None
    body.feed(b"x")
    assert reader.message == "The upstream answered 503."
    assert body.discards


def test_a_client_that_leaves_frees_the_connection():
    """Nothing is sent any more."""
    body = Body()
    response = as_late_error(ProxyResponse(503, b"Busy", [], body))
    reader = Reader(response)
    body.feed(b'{"err')
    response.body.discard()
    assert body.discards
    assert (reader.data, reader.reason) == (b"", None)
