"""Errors that a stream begins with, in every form that servers send."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.wire.first_events import LIMIT_BYTES, FirstEvents, error_of_document

ERRORS = {
    b'data: {"error":{"message":"m","code":502}}\n\n': "502",
    b': OPENROUTER PROCESSING\n\n: again\n\ndata: {"id":"1","choices":[],"error":{"code":429}}\n\n': "429",
    b'event: error\ndata: {"type":"error","code":"insufficient_quota","message":"m"}\n\n': "insufficient_quota",
    b'event: error\r\ndata: {"message":"m"}\r\n\r\n': "upstream_error",
    b'event:error\rdata: {"code":"x y"}\r\r': "x_y",
    b'\xef\xbb\xbfdata: {"error":"out of memory"}\n\n': "upstream_error",
    b'data: {"object":"error","message":"m","type":"BadRequestError","code":400}\n\n': "400",
    b'data: {"error":{"message":"m","type":"server_error","code":null}}\n\n': "server_error",
    b'event: response.failed\ndata: {"type":"response.failed","response":{"error":{"code":"server_error"}}}\n\n': "server_error",
    b'data: {"type":"response.created","response":{"error":null}}\n\ndata: {"type":"response.in_progress"}\n\n'
    b'data: {"type":"error","code":"rate_limit_exceeded"}\n\n': "rate_limit_exceeded",
    b'data: {"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"error"}],"error":{"code":502}}\n\n': "502",
    b'data: {"choices":[{"delta":{"content":""},"finish_reason":"error","error":{"code":503}}]}\n\n': "503",
    b'data: {"choices":[{"delta":{"content":""},"finish_reason":"error"}]}\n\n': "upstream_error",
    b'error: {"code":400,"message":"the request exceeds the context","type":"invalid_request_error"}\n\n': "400",
    b'error: {"message":"m"}': "upstream_error",
    b'data: {"error":{"message":"m"}}': "upstream_error",
}

ANSWERS = [
    b'data: {"choices":[{"delta":{"content":"x"}}]}\n\ndata: {"error":{"code":500}}\n\n',
    b'data: {"choices":[{"delta":{"reasoning_content":"x"}}]}\n\ndata: {"error":{"code":500}}\n\n',
    b'data: {"choices":[{"text":"x"}]}\n\ndata: {"error":{"code":500}}\n\n',
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: {"error":{"code":500}}\n\n',
    b'data: {"type":"response.output_item.added"}\n\ndata: {"type":"error"}\n\n',
    b'data: {"type":"response.created","response":{"error":null}}\n\n',
    b'data: {"choices":[{"delta":{"content":"x"},"error":null}]}\n\n',
    b'error: none\n\ndata: {"choices":[{"delta":{"content":"x"}}]}\n\n',
    b"data: [DONE]\n\n",
    b"data: plain text\n\n",
    b"",
    b": nothing but comments\n\n",
    b'data: {"error":null,"choices":[{"delta":{"content":"x"}}]}\n\n',
]


def look(stream, size=None, coding=b""):
    events = FirstEvents(coding)
    for at in range(0, len(stream), size or len(stream) or 1):
        events.feed(stream[at : at + (size or len(stream))])
    events.finish()
    return events.error


@pytest.mark.parametrize("stream", [*ERRORS, *ANSWERS])
@pytest.mark.parametrize("size", [None, 1, 7])
def test_streams(stream, size):
    """However it is cut, an error that comes before anything was said is found, and nothing else is one."""
    assert look(stream, size) == ERRORS.get(stream)


@pytest.mark.parametrize(("coding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
@pytest.mark.parametrize("size", [None, 3])
def test_compressed_streams(coding, pack, size):
    """A coding hides nothing; one that is broken or not known is not looked into."""
    for stream, code in ERRORS.items():
        assert look(pack(stream), size, coding) == code
    assert look(b"no gzip at all", None, b"gzip") is None
    assert look(b'data: {"error":{"code":1}}\n\n', None, b"unknown") is None


def test_a_long_beginning_is_not_held():
    """After 64 KiB it is decided, whatever comes."""
    events = FirstEvents()
    events.feed(b": x\n\n" * LIMIT_BYTES)
    assert events.decided
    events.feed(b'data: {"error":{"code":1}}\n\n')
    assert events.error is None


@given(st.binary(max_size=300), st.integers(1, 50))
def test_nothing_crashes_it(data, size):
    """Whatever an upstream sends."""
    look(data, size)
    look(b"data: " + data + b"\n\n", size)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error":{"message":"m","code":429},"user_id":"u"}', "429"),
        (b'{"error":"x"}', "upstream_error"),
        (b'{"error":null,"output":[]}', None),
        (b'{"status":"failed","error":{"code":"server_error"},"usage":{"input_tokens":1}}', None),
        (b'{"choices":[{"message":{"content":"\\"error\\""}}]}', None),
        (b'["error"]', None),
        (b'\n[{"error":{"code":503,"status":"UNAVAILABLE"}}]', "503"),
        (b'[{"error":1},{}]', None),
        (b'[{"error"', None),
        (b'[{"id":"m","error":null}]', None),
        (
            b'{"choices":null,"object":"chat.completion","usage":{"total_tokens":0},"base_resp":{"status_code":1008}}',
            "1008",
        ),
        (b'{"choices":[{}],"base_resp":{"status_code":0}}', None),
        (b'{"choices":[{}],"base_resp":{"status_code":1027}}', None),
        (b'{"error_code":336003,"error_msg":"m","id":"as-1"}', "336003"),
        (b'{"code":500,"msg":"404 NOT_FOUND","success":false}', "500"),
        (b'{"result":null,"success":false,"errors":[{"code":7000,"message":"m"}],"messages":[]}', "7000"),
        (b'{"success":false}', "upstream_error"),
        (b'{"errors":["m"]}', "upstream_error"),
        (b'{"errors":[],"success":true}', None),
        (b'{"object":"batch","errors":[{"code":1}]}', None),
        (b'{"data":[{}],"success":false}', None),
        (b'{"error_code":1,"usage":{"total_tokens":5}}', None),
        (b'{"error_code":1,"usage":{"total_tokens":0,"details":{"cached_tokens":0}}}', "1"),
        (b"", None),
    ],
)
def test_documents(body, code):
    """A short answer that is an error, plain or compressed."""
    assert error_of_document(body) == code
    assert error_of_document(gzip.compress(body), b"gzip") == code


@pytest.mark.parametrize(
    ("usage", "error"),
    [
        (b'{"input_tokens":7,"output_tokens":0}', None),
        (b'{"input_tokens":0,"output_tokens":0}', "server_error"),
        (b"null", "server_error"),
    ],
)
def test_what_has_cost_something_is_no_failure_from_the_beginning(usage, error):
    """A response that failed in the end was written, though all of it came in one read."""
    events = FirstEvents()
    failed = b'{"type":"response.failed","response":{"error":{"code":"server_error"},"usage":%b}}' % usage
    events.feed(b'data: {"type":"response.created"}\n\ndata: ' + failed + b"\n\n")
    assert (events.decided, events.error) == (True, error)
