"""Errors that a stream reports after it has begun, in every form and however it is cut."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.usage.later_errors import EVENT_LIMIT_BYTES, LaterErrors

ERRORS = {
    b'data: {"error":{"message":"m","code":502}}\n\n': "502",
    b': again\n\ndata: {"id":"1","choices":[],"error":{"code":429}}\n\n': "429",
    b'event: error\ndata: {"type":"error","code":"insufficient_quota"}\n\n': "insufficient_quota",
    b'event: error\r\ndata: {"message":"m"}\r\n\r\n': "upstream_error",
    b'event:error\rdata: {"code":"x y"}\r\r': "x_y",
    b'data: {"object":"error","message":"m","type":"BadRequestError","code":400}\n\n': "400",
    b'data: {"type":"response.failed","response":{"error":{"code":"server_error"}}}\n\n': "server_error",
    b'data: {"choices":[{"delta":{},"finish_reason":"error"}],"error":{"code":502}}\n\n': "502",
    b'data: {"choices":[{"delta":{"content":""},"finish_reason":"error","error":{"code":503}}]}\n\n': "503",
    b'error: {"code":500,"message":"the slot is gone","type":"server_error"}\n\n': "500",
    b'data: {"error":{"message":"m"}}': "upstream_error",
}
ANSWERS = [
    b'data: {"type":"response.completed","response":{"error":null}}\n\n',
    b'data: {"error":null,"choices":[{"delta":{"content":"x"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"\\"error\\":{\\"code\\":1}"}}]}\n\n',
    b": event: error\n\n",
    b"data: error, failed\n\n",
    b"error: none, nothing failed\n\n",
    b"data: [DONE]\n\n",
]
SAID = b'data: {"choices":[{"delta":{"content":"no error, nothing failed"}}]}\n\n'


def look(stream, cuts=()):
    errors = LaterErrors()
    at = 0
    for cut in [*sorted(cuts), len(stream)]:
        errors.feed(stream[at:cut])
        at = cut
    errors.finish()
    return errors.error


@pytest.mark.parametrize("stream", ERRORS)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_whatever_is_an_error_at_the_beginning_is_one_later(stream, size):
    """The same forms."""
    whole = SAID + stream
    assert look(whole, range(size, len(whole), size)) == ERRORS[stream]


@pytest.mark.parametrize("stream", ANSWERS)
def test_answers_tell_none(stream):
    """A word is no error."""
    assert look(SAID + stream + SAID) is None


blocks = st.lists(
    st.sampled_from(
        [
            SAID,
            b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n',
            b": keep-alive\n\n",
            b'data: {"a":"\xc3\xa9"}\r\n\r\n',
            b"event: delta\ndata: {}\n\n",
            b'data: {"error":{"code":"first"}}\n\n',
            b'event: error\ndata: {"message":"m","code":"second"}\n\n',
        ]
    ),
    max_size=8,
)


@given(blocks, st.data())
def test_however_it_is_cut(parts, data):
    """The first error is found, in one piece, byte by byte and anyhow."""
    stream = b"".join(parts)
    codes = [code for part in parts for code in ("first", "second") if code.encode() in part]
    expected = codes[0] if codes else None
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
    assert look(stream, cuts) == expected
    assert look(stream) == expected
    assert look(stream, range(len(stream))) == expected
    assert look(stream, accumulate(map(len, parts))) == expected  # as servers send it, event by event


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_a_long_event_is_judged_by_its_beginning(size):
    """A response that failed half-way brings all that it wrote."""
    head = b'event: response.failed\ndata: {"type":"response.failed","response":{"error":{"code":"server_error"},'
    stream = SAID + head + b'"output":"' + b"x" * (2 * EVENT_LIMIT_BYTES) + b'"}}\n\n'
    assert look(stream, range(size, len(stream), size)) == "server_error"


def test_a_long_answer_is_none():
    """Whatever its length."""
    stream = (
        b'data: {"type":"response.completed","response":{"error":null,"output":"'
        + b"x" * 200_000
        + b'"}}\n\n'
    )
    assert look(SAID + stream, range(1000, 200_000, 1000)) is None


def test_no_more_than_a_piece_is_kept_unread():
    """An error is found while the stream goes on, at most 24 KiB later."""
    errors = LaterErrors()
    errors.feed(b'data: {"error":{"message":"m","code":502}}\n\n')
    passed = 0
    while errors.error is None:
        errors.feed(SAID)
        passed += len(SAID)
    assert errors.error == "502"
    assert passed <= 25 * 1024
