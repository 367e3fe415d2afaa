"""Responses as they came, for replays."""

import gzip
import json

import pytest
from fakes import exchange
from twisted.internet.task import Clock

from openai_proxy.exchange.outcome import Outcome
from openai_proxy.observe.exchange_log.capture import Capture
from openai_proxy.observe.exchange_log.line import exchange_line

JSON = (b"Content-Type", b"application/json")
EVENTS = (b"Content-Type", b"text/event-stream")


def line(*chunks, headers=(JSON,), limit=1000, raw=True, asked=(), secrets=()):
    """Return the line of an exchange whose response came in these chunks, half a second apart."""
    clock = Clock()
    made = exchange(status=200, reason=b"OK", target=b"/files?purpose=batch&api_key=sk-abcdefgh")
    made.response_headers = list(headers)
    made.request_headers = list(asked)
    made.capture = Capture(limit, clock.seconds if raw else None)
    for chunk in chunks:
        clock.advance(0.5)
        made.capture.response.feed(chunk)
    made.end(Outcome.COMPLETE, clock.seconds())
    return json.loads(exchange_line(made, limit, raw=raw, secrets=secrets))


def raw_of(*chunks, **options):
    return line(*chunks, **options)["response"]["raw"]


def test_chunks_stand_as_they_came():
    """Text as text, a piece of a character and sound as base64, each with its time."""
    written = raw_of(b'{"a":"', b"\xc3", b'\xbc"}')
    assert written == {
        "status_line": "HTTP/1.1 200 OK",
        "chunks": [[0.5, '{"a":"'], [1.0, {"base64": "ww=="}], [1.5, {"base64": "vCJ9"}]],
    }


def test_other_lines_stay_as_they_are():
    """Nothing is added unless somebody asks for it."""
    written = line(b"{}", raw=False)
    assert "raw" not in written["response"]
    assert "target" not in written["request"]


def test_the_target_has_its_query_without_keys():
    """Replays are matched by it."""
    assert line(b"{}")["request"]["target"] == "/files?purpose=batch&api_key=[redacted]"


def test_a_response_that_is_too_long_says_so():
    """Half of it would be no replay."""
    assert raw_of(b"x" * 6, b"y" * 6, limit=10) == {"status_line": "HTTP/1.1 200 OK", "truncated": True}


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (b'{"client_secret":{"value":"abcdefghijk"}}', {}),
        (b'{"id":"ek_0123456789abcdef"}', {}),
        (b'data: {"api_key":"abcdefghijk"}\n\n', {"headers": (EVENTS,)}),
        (b"your key is sk-0123456789abcdef", {"headers": ((b"Content-Type", b"text/plain"),)}),
        (b'{"content":"secret-of-the-proxy"}', {"secrets": ("secret-of-the-proxy",)}),
        (b'{"content":"client-key-123"}', {"asked": ((b"Authorization", b"Bearer client-key-123"),)}),
        (
            gzip.compress(b'{"api_key":"abcdefghijk"}', mtime=0),
            {"headers": (JSON, (b"Content-Encoding", b"gzip"))},
        ),
        (b"no gzip", {"headers": (JSON, (b"Content-Encoding", b"gzip"))}),
    ],
)
def test_no_credential_is_recorded(data, options):
    """Neither in the chunks nor anywhere else in the line."""
    written = line(data, **options)
    assert written["response"]["raw"] == {"status_line": "HTTP/1.1 200 OK", "redacted": True}


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b'{"choices":[{"message":{"content":"the basic idea; Bearer of news"}}]}', (JSON,)),
        (b'{"arguments":"{\\"city\\":\\"x\\"}"}', (JSON,)),
        (b'data: {"choices":[{"delta":{"content":"basic idea"}}]}\n\ndata: [DONE]\n\n', (EVENTS,)),
        (bytes(range(256)), ((b"Content-Type", b"audio/mpeg"),)),
        (gzip.compress(b"{}", mtime=0), (JSON, (b"Content-Encoding", b"gzip"))),
    ],
)
def test_what_a_model_wrote_is_recorded(data, headers):
    """Words that look a little like a credential stay unchanged, as in the other lines."""
    assert "chunks" in raw_of(data, headers=headers)
