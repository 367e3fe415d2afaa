"""An error with status 200 is recorded as one, and costs nothing."""

import gzip

import fakes
import pytest
from fakes import Forward, Whole, result_of, through

from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.usage import Usage
from openai_proxy.policies.chains import compose
from openai_proxy.policies.usage.note_errors import NoteErrors
from openai_proxy.policies.usage.read_usage import ReadUsage

STREAM = (b"Content-Type", b"text/event-stream")
ERROR = b'data: {"error":{"message":"quota","code":"insufficient_quota"}}\n\ndata: [DONE]\n\n'
GOOD = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'


def run(body, *headers, endpoint="chat/completions", streaming=True, inject=False, status=200):
    """Return the exchange and its response, whose body has passed through the filters whole."""
    exchange = fakes.exchange(endpoint=endpoint, streaming=streaming, upstream="up")
    document = {"model": "m", "messages": [], "stream": streaming}
    request = ProxyRequest(
        method=b"POST", target=b"/x", headers=[], body=b'{"model":"m"}', exchange=exchange, document=document
    )
    usage = ReadUsage(inject, lambda: 0.0)
    forward = Forward(fakes.response(body, *headers, status=status))
    return exchange, result_of(through(compose([NoteErrors(), usage], forward), request))


def passed(response, *chunks):
    data = b""
    for chunk in chunks:
        for each in response.filters:
            chunk = each.feed(chunk)
        data += chunk
    for each in response.filters:
        data += each.finish()
    return data


@pytest.mark.parametrize("inject", [False, True])
@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("endpoint", ["chat/completions", "responses", "threads/runs", "images/generations"])
def test_a_stream_that_begins_with_an_error(endpoint, size, inject):
    """It passes byte for byte; outcome and code say what it was, and nobody pays, whoever ends it."""
    exchange, response = run(fakes.Body(), STREAM, endpoint=endpoint, inject=inject)
    chunks = [ERROR[at : at + size] for at in range(0, len(ERROR), size)]
    assert passed(response, *chunks) == ERROR
    exchange.usage = Usage(1, 2)
    exchange.end(Outcome.COMPLETE, 1.0)
    assert (exchange.outcome, exchange.error_code, exchange.usage) == (
        Outcome.UPSTREAM_ERROR,
        "insufficient_quota",
        None,
    )
    assert exchange.upstream_error_kinds == [("up", "error_behind_200")]


def test_an_sdk_leaves_at_the_error():
    """It does not wait for the end: that is no client that changed its mind."""
    exchange, response = run(fakes.Body(), STREAM)
    for each in response.filters:
        each.feed(ERROR[:70])
    exchange.end(Outcome.CLIENT_GONE, 1.0)
    assert (exchange.outcome, exchange.usage) == (Outcome.UPSTREAM_ERROR, None)


def test_a_compressed_stream():
    """A coding hides nothing."""
    exchange, response = run(fakes.Body(), STREAM, (b"Content-Encoding", b"gzip"))
    packed = gzip.compress(ERROR)
    assert passed(response, packed) == packed
    exchange.end(Outcome.COMPLETE, 1.0)
    assert exchange.error_code == "insufficient_quota"


LATER = b'data: {"error":{"message":"gone","code":502}}\n\n'
FAILED = (
    b'event: response.failed\ndata: {"type":"response.failed","response":{"status":"failed",'
    b'"error":{"code":"server_error"},"usage":{"input_tokens":7,"output_tokens":9}}}\n\n'
)
SAID = b'data: {"type":"response.output_text.delta","delta":"x"}\n\n'


@pytest.mark.parametrize("size", [1, 9, 10_000])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(
    ("endpoint", "body", "code"),
    [
        ("chat/completions", GOOD * 3 + LATER + b"data: [DONE]\n\n", "502"),
        ("chat/completions", GOOD * 3 + LATER[:-2] + b"\n\n", "502"),
        ("responses", SAID * 2 + FAILED, "server_error"),
        ("responses", FAILED, "server_error"),
        (
            "responses",
            SAID + b'event: error\ndata: {"type":"error","code":"rate_limit_exceeded"}\n\n',
            "rate_limit_exceeded",
        ),
    ],
)
def test_an_error_after_some_words_is_recorded_and_what_was_used_is_paid(endpoint, body, code, left, size):
    """The bytes pass; outcome and code say that it failed, and the words before it are not free.

    A client that leaves at the error is none that changed its mind.
    """
    exchange, response = run(fakes.Body(), STREAM, endpoint=endpoint)
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    if left:
        for chunk in chunks:
            for each in response.filters:
                each.feed(chunk)
        exchange.end(Outcome.CLIENT_GONE, 1.0)
    else:
        assert passed(response, *chunks) == body
        exchange.end(Outcome.COMPLETE, 1.0)
    assert (exchange.outcome, exchange.error_code) == (Outcome.UPSTREAM_ERROR, code)
    assert exchange.upstream_error_kinds == [("up", "error_in_stream")]
    if endpoint == "responses" and b"usage" in body:
        assert exchange.usage == Usage(7, 9)
    else:
        assert exchange.usage.estimated
        assert exchange.usage.output_tokens > 0


def test_words_about_errors_are_no_errors():
    """A model may write of them."""
    exchange, response = run(fakes.Body(), STREAM)
    words = b'data: {"choices":[{"delta":{"content":"{\\"error\\": \\"failed\\"}"}}],"error":null}\n\n'
    assert passed(response, GOOD, words, words) == GOOD + words + words
    exchange.end(Outcome.COMPLETE, 1.0)
    assert (exchange.outcome, exchange.error_code) == (Outcome.COMPLETE, None)


def test_a_compressed_error_after_some_words():
    """A coding hides nothing here either."""
    exchange, response = run(fakes.Body(), STREAM, (b"Content-Encoding", b"gzip"))
    packed = gzip.compress(GOOD * 3 + LATER)
    assert passed(response, packed[:40], packed[40:]) == packed
    exchange.end(Outcome.COMPLETE, 1.0)
    assert (exchange.outcome, exchange.error_code) == (Outcome.UPSTREAM_ERROR, "502")
    assert exchange.usage.output_tokens > 0


@pytest.mark.parametrize("coding", [b"", b"gzip"])
def test_an_error_document(coding):
    """Gateways answer 200 without a stream too."""
    body = b'{"error":{"message":"x","code":502}}'
    headers = [(b"Content-Type", b"application/json")]
    if coding:
        body, headers = gzip.compress(body), [*headers, (b"Content-Encoding", b"gzip")]
    exchange, _ = run(Whole(body), *headers, streaming=False)
    exchange.end(Outcome.COMPLETE, 1.0)
    assert (exchange.outcome, exchange.error_code, exchange.usage) == (Outcome.UPSTREAM_ERROR, "502", None)


def test_a_response_that_failed_half_way():
    """Without a stream too: an error is recorded, and what was used is paid."""
    body = (
        b'{"id":"resp_1","status":"failed","error":{"code":"server_error","message":"m"},"output":[],'
        b'"usage":{"input_tokens":7,"output_tokens":9}}'
    )
    exchange, _ = run(
        Whole(body), (b"Content-Type", b"application/json"), streaming=False, endpoint="responses"
    )
    exchange.end(Outcome.COMPLETE, 1.0)
    assert (exchange.outcome, exchange.error_code) == (Outcome.UPSTREAM_ERROR, "server_error")
    assert exchange.usage == Usage(7, 9)


@pytest.mark.parametrize(("status", "streaming"), [(500, True), (200, False)])
def test_other_answers_are_not_watched(status, streaming):
    """A status says it already; without a stream there is no first event."""
    exchange, _ = run(fakes.Body(), STREAM, status=status, streaming=streaming)
    exchange.end(Outcome.COMPLETE, 1.0)
    assert exchange.outcome is Outcome.COMPLETE


@pytest.mark.parametrize("before", [b"", SAID])
def test_a_compressed_response_that_failed_in_the_end_is_paid(before):
    """It comes in one read; its usage is what it reports."""
    exchange, response = run(fakes.Body(), STREAM, (b"Content-Encoding", b"gzip"), endpoint="responses")
    passed(response, gzip.compress(before + FAILED))
    exchange.end(Outcome.COMPLETE, 1.0)
    assert (exchange.outcome, exchange.error_code, exchange.usage) == (
        Outcome.UPSTREAM_ERROR,
        "server_error",
        Usage(7, 9),
    )
