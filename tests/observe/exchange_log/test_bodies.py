"""Bodies stand in the log as what they are."""

import base64
import gzip
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.observe.exchange_log.bodies import KeptBody, shown_body
from openai_proxy.observe.lines.encode import json_line
from openai_proxy.wire.headers import media_type

LIMIT = 10_000


def kept(data, content_type="application/json", encoding="", limit=LIMIT):
    kind, coding = media_type(content_type.encode("utf-8")), encoding.encode("ascii")
    return KeptBody(data[:limit], len(data), hashlib.sha256(data).hexdigest, kind, coding)


def show(*args, **kwargs):
    return shown_body(kept(*args, **kwargs), LIMIT)


def test_json_is_an_object():
    """JSON is searchable, compressed or not."""
    document = {"b": 1, "a": [None, "é", 1.5]}
    raw = json.dumps(document, indent=1).encode()
    assert show(raw) == document
    assert show(gzip.compress(raw), encoding="gzip") == document
    assert show(raw, "") == document


def test_empty_is_none():
    """No body is null."""
    assert show(b"") is None


def test_a_secret_does_not_hide_in_base64():
    """A key that an upstream repeats in plain text is blotted out before the text is encoded."""
    for data, encoding in ((b"no such key: q7key123", ""), (gzip.compress(b"no such key: q7key123"), "gzip")):
        shown = shown_body(kept(data, "text/plain", encoding), LIMIT, ["q7key123"])
        assert base64.b64decode(shown["base64"]) == b"no such key: [redacted]"


def test_binary_is_base64_within_the_limit():
    """Audio can be heard again from the log."""
    data = bytes(range(256))
    assert show(data, "audio/mpeg") == {
        "bytes": 256,
        "sha256": hashlib.sha256(data).hexdigest(),
        "base64": base64.b64encode(data).decode(),
    }


def test_large_binary_is_size_and_digest():
    """A long body is known by its digest."""
    data = b"\xff" * 20_000
    digest = hashlib.sha256(data).hexdigest()
    assert show(data, "audio/mpeg") == {"bytes": 20_000, "sha256": digest, "truncated": True}


def test_large_json_is_cut_and_says_so():
    """The limit bounds what a line holds of a body."""
    data = b'{"a":"' + b"y" * 300_000 + b'"}'
    shown = show(data)
    assert (shown["bytes"], shown["truncated"]) == (len(data), True)
    assert len(shown["text"]) == LIMIT


@pytest.mark.parametrize("done", [b"[DONE]", b"[DONE] "])
def test_stream_is_put_together(done):
    """A stream stands there as its answer."""
    chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "a"}}]}
    data = (b"data: " + json.dumps(chunk).encode() + b"\n\n") * 2 + b"data: %b\n\n" % done
    for body in (
        show(data, "text/event-stream; charset=utf-8"),
        show(gzip.compress(data), "text/event-stream", "gzip"),
    ):
        assert body["choices"][0]["message"]["content"] == "aa"
        assert "truncated" not in body


def test_long_stream_is_cut_and_says_so():
    """What was kept of a long stream is still put together."""
    chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "a"}}]}
    body = show((b"data: " + json.dumps(chunk).encode() + b"\n\n") * 500, "text/event-stream")
    assert body["truncated"] is True
    assert set(body["choices"][0]["message"]["content"]) == {"a"}


def test_broken_off_stream_is_put_together_as_far_as_it_came():
    """An event torn by the end of the connection does not spoil those before it."""
    chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "a"}}]}
    event = b"data: " + json.dumps(chunk).encode()
    torn = show(event + b"\n\n" + event[:-5], "text/event-stream")
    assert torn["choices"][0]["message"]["content"] == "a"
    unterminated = show(event + b"\n\n" + event, "text/event-stream")
    assert unterminated["choices"][0]["message"]["content"] == "aa"


def test_odd_stream_is_kept_as_chunks():
    """Events that fit nowhere are kept."""
    body = show(b"event: x\ndata: not json \xff\n\ndata: [1,2]\n\n", "text/event-stream")
    assert body == {"chunks": ["not json \ufffd", [1, 2]]}


@pytest.mark.parametrize(
    "data",
    [
        b'{"x":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"x":' + b"[" * 5000 + b"]" * 4000 + b"}",
        b'{"x":' + b"9" * 5000 + b"}",
        rb'{"x":"\ud800"}',
        b'{"x":1e999999}',
        b'{"x":NaN}',
        b'{"m":1,"m":2}',
        b'{"x":123456789012345678901234567890}',
        b'\xef\xbb\xbf{"a":1}',
        b"\xff\xfe",
    ],
    ids=range(10),
)
def test_strange_json_makes_a_readable_line(data):
    """Any reader can parse every line, whatever a client sent."""

    def fail(constant):
        raise AssertionError(constant)

    json.loads(json_line({"body": show(data)}), parse_constant=fail)


@given(st.binary(max_size=200), st.sampled_from(["", "application/json", "text/event-stream", "text/plain"]))
def test_any_body_makes_a_readable_line(data, content_type):
    """No body can break the log."""
    json.loads(json_line({"body": show(data, content_type)}))


@given(
    st.lists(
        st.sampled_from(
            [
                b"data: ",
                b"data:",
                b'{"a":1}',
                b"x",
                b"1,2",
                b"\n",
                b"\n\n",
                b": c\n\n",
                b"event: e\n",
                b"[DONE]",
            ]
        ),
        max_size=12,
    )
)
def test_line_ends_do_not_matter(pieces):
    """A stream with CRLF line ends is logged as the one with LF."""
    data = b"".join([*pieces, b"\n\n"])
    with_lf = show(data, "text/event-stream")
    assert show(data.replace(b"\n", b"\r\n"), "text/event-stream") == with_lf
