"""What came with a 200 and must not be kept for a day all the same."""

import pytest

from openai_proxy.policies.cache.unfit_answers import is_unfit

JSON, SSE = b"application/json", b"text/event-stream"
CHUNK = b'data: {"choices":[{"delta":{"content":"an \\"error\\" here"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (JSON, b'{"error":{"message":"overloaded"}}'),
        (JSON, b' {"id":"r","error":"no"}\n'),
        (SSE, CHUNK + b'data: {"error":{"message":"overloaded"}}\n\n' + DONE),
        (SSE, b'event: error\r\ndata: {"type":"error","code":"x","error":null}\r\n\r\n'),
        (SSE, b'data: {"type":"response.failed","response":{"error":{"code":"x"}}}\n\n'),
        (SSE, CHUNK + b'data: {"error":1}'),
        (JSON, b'{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}'),
        (JSON, b'{"choices":[{"finish_reason":"error","message":{"content":""},"error":{"code":502}}]}'),
        (SSE, b'data: {"object":"error","message":"m","code":400}\n\n' + DONE),
        (SSE, CHUNK + b'event: error\ndata: {"message":"m"}\n\n'),
        (SSE, CHUNK + b'data: {"choices":[{"delta":{},"finish_reason":"error"}]}\n\n' + DONE),
        (SSE, b'error: {"code":400,"message":"too long"}\n\n'),
    ],
)
def test_errors_reported_in_the_body(media_type, body):
    """An upstream that has sent its 200 already can tell an error in no other way."""
    assert is_unfit(media_type, body, announced=True)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (JSON, b'{"error":null,"data":[1]}'),
        (JSON, b'{"choices":[{"message":{"content":"\\"error\\"","error":1}}]}'),
        (JSON, b'["error"]'),
        (SSE, CHUNK + DONE),
        (SSE, b'data: {"type":"response.completed","response":{"error":null}}\n\n'),
        (b"audio/mpeg", b'{"error":1}'),
        (b"", b""),
        (b"", b"text"),
        (JSON, b'{"choices":[{"text":"a"},{"text":"b","finish_reason":"stop"}]}'),
        (JSON, b'{"object":"response","detail":"x","output":[]}'),
        (JSON, b'{"message":"ok","data":[1]}'),
        (JSON, b'{"data":[' + b"1," * 600_000 + b"1]}"),
    ],
)
def test_answers(media_type, body):
    """The word by itself makes no error."""
    assert not is_unfit(media_type, body, announced=True)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (JSON, b""),
        (b"text/html", b"<html>log in"),
        (JSON, b"<html>log in"),
        (JSON, b'{"choices":[],"object":"chat.completion"}'),
        (JSON, b'{"id":null,"choices":null,"object":"chat.completion"}'),
        (JSON, b'{"choices":[{"finish_reason":"stop"},{"finish_reason":null}]}'),
        (JSON, b'{"object":"list","data":[]}'),
        (JSON, b'{"detail":"Internal error"}'),
        (JSON, b'{"message":"busy"}'),
        (JSON, b'{"code":40003,"msg":"quota"}'),
        (JSON, b'[{"error":{"code":503,"status":"UNAVAILABLE"}}]'),
        (JSON, b'{"code":500,"msg":"404 NOT_FOUND","success":false}'),
        (JSON, b'{"error_code":336003,"error_msg":"m","id":"as-1"}'),
        (b"", b'{"error":{"message":"overloaded"}}'),
        (b"text/plain", CHUNK + b'data: {"error":{"message":"overloaded"}}\n\n'),
        (JSON, CHUNK + b'data: {"error":{"message":"overloaded"}}\n\n'),
    ],
)
def test_what_no_model_said(media_type, body):
    """An empty document and a page for people are no answers of the API, whatever their status."""
    assert is_unfit(media_type, body, announced=True)


@pytest.mark.parametrize(
    ("body", "unfit"),
    [(b'{"data":[1,', True), (b"", True), (b'{"data":[1]}\n', False), (b"[1]", False)],
)
def test_half_a_document_of_no_announced_length(body, unfit):
    """A connection that ends says nothing about whether it should have."""
    assert is_unfit(JSON, body, announced=False) is unfit


@pytest.mark.parametrize(
    ("body", "unfit"),
    [
        (CHUNK, True),
        (CHUNK + b'data: {"choices":[{"finish_reason":null', True),
        (CHUNK + DONE, False),
        (CHUNK + b'data: {"choices":[{"delta":{},"finish_reason": "stop"}]}\n\n', False),
        (b"data: 1\n\n", False),
    ],
)
def test_a_stream_of_choices_that_never_finish(body, unfit):
    """A gateway whose server died may end the stream in order; half an answer is not played back for an hour."""
    assert is_unfit(SSE, body, announced=False) is unfit
    assert not is_unfit(SSE, body, announced=True)
