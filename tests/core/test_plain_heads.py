"""Plain heads say what llhttp and the full reading say, or nothing."""

from __future__ import annotations

from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.core.body_headers import media_type_and_coding
from openai_proxy.core.headers import HeaderPairs, end_to_end, render, scan_request
from openai_proxy.core.plain_heads import plain_request, plain_response
from openai_proxy.core.wire_lines import answer, changed, rendered
from openai_proxy.web.whole_messages import WholeMessages

LINES = [
    b"Host: a", b"host: b:80", b"Host: a/b", b"Host:", b"Content-Length: 3", b"content-length: 3", b"CONTENT-LENGTH: 3",
    b"Content-Length: 003", b"Content-Length: +3", b"Content-Length: 3 ", b"X-Content-Length: 3", b"X: Content-Length: 3",
    b"Content-Type: application/json; x", b"Connection: keep-alive", b"Connection: close", b"Transfer-Encoding: chunked",
    b"Via: 1.1 x", b"Upgrade: h2c", b"Expect: 100-continue", b"Content-Encoding: gzip", b"Content-Encoding: identity", b"content-type:  Text/Event-Stream ;x", b"X-A: b ", b"X-A:\t b", b"X : y",
    b" folded", b"X-Empty:", b"X-Y: a:b: c", b"A: b\nC: d", b"A: b\rC: d", b"A: \xff", b"A: \x01", b":x", b"none",
]  # fmt: skip
STARTS = [b"POST /v1/x HTTP/1.1", b"GET / HTTP/1.1", b"HEAD /x HTTP/1.1", b"FOO / HTTP/1.1", b"CONNECT a:1 HTTP/1.1",
          b"POST  /x HTTP/1.1", b"GET / HTTP/1.0", b"GET /\xff HTTP/1.1", b""]  # fmt: skip
STATUSES = [b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 404 Not Found", b"HTTP/1.1 204 N",
            b"HTTP/1.1 100 C", b"HTTP/1.0 200 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 200\tOK",
            b"HTTP/1.1 200 \xff", b"HTTP/1.1 200 O\tK ", b"HTTP/1.1 200 O\rK", b"HTTP/1.1 600 K", b"http/1.1 200 OK"]  # fmt: skip


class Parts:
    """What llhttp calls back, collected."""

    def __init__(self) -> None:
        self.start = self.body = b""
        self.pairs: list[tuple[bytes, bytes]] = []
        self.ends = 0

    def on_url(self, data: bytes) -> None:
        self.start += data

    on_status = on_url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name, value))

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.ends += 1


def _parts(make_parser: Any, data: bytes) -> Parts:
    parts = Parts()
    make_parser(parts).feed_data(data)
    return parts


bytes_of_a_line = st.binary(max_size=6).filter(lambda line: b"\r\n" not in line)
any_line = st.tuples(bytes_of_a_line, st.sampled_from([b": ", b":", b""]), bytes_of_a_line).map(b"".join)
lines = st.lists(st.sampled_from(LINES) | any_line, max_size=5)
common = st.sampled_from(
    [
        [],
        [b"Host: a"],
        [b"Host: a", b"Content-Length: 3"],
        [b"Content-Length: 3"],
        [b"Host: a", b"content-length: 3"],
    ]
)
bodies = st.sampled_from([b"", b"abc", b"abcd", b"GET"])
requests = WholeMessages(httptools.HttpRequestParser)
responses = WholeMessages(httptools.HttpResponseParser)


@given(st.sampled_from(STARTS), common, lines, bodies)
def test_a_plain_request_is_read_as_llhttp_reads_it(
    start: bytes, first: list[bytes], more: list[bytes], body: bytes
) -> None:
    """No client can make the short way see another request than the long way does."""
    head = b"\r\n".join([start, *first, *more])
    data = head + b"\r\n\r\n" + body
    plain = plain_request(head)
    if plain is None or len(body) != (plain[2].content_length or 0) or not requests.is_one(data):
        return
    known, pairs, read = plain
    parts = _parts(httptools.HttpRequestParser, data)
    assert (parts.start, parts.pairs, parts.body, parts.ends) == (known.target, pairs, body, 1)
    assert known.method == start.split()[0]
    full = scan_request(pairs, True, b"openai-proxy")
    assert all(getattr(full, name) == getattr(read, name) for name in type(full).__slots__ if name[0] != "_")
    assert rendered(read.forward) == render(list(read.forward))


@given(st.sampled_from(STATUSES), common, lines, bodies)
def test_a_plain_response_is_read_as_llhttp_reads_it(
    start: bytes, first: list[bytes], more: list[bytes], body: bytes
) -> None:
    """No upstream can make the short way see another response than the long way does."""
    head = b"\r\n".join([start, *first, *more])
    data = head + b"\r\n\r\n" + body
    plain = plain_response(head)
    if plain is None or len(body) != plain[3]:
        return
    assert responses.is_one(data)
    status, reason, pairs, _ = plain
    parts = _parts(httptools.HttpResponseParser, data)
    assert (parts.start, parts.pairs, parts.body, parts.ends) == (reason, pairs, body, 1)
    assert start.split()[1] == b"%d" % status
    assert end_to_end(list(pairs)) == pairs
    assert rendered(pairs) == render(list(pairs))
    assert media_type_and_coding(pairs) == media_type_and_coding(list(pairs))


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nA%bb: c", b"HTTP/1.1 200 OK\r\nA: b%bc", b"HTTP/1.1 200 O%bK", b"HTTP/1.1 200 OK\r\nA: b%b"]
)  # fmt: skip
def test_no_byte_makes_a_plain_response_of_what_llhttp_refuses(head: bytes) -> None:
    """Wherever it stands, for nobody looks at a plain response's head once more."""
    plain_bytes = b""
    for byte in map(bytes, zip(range(256), strict=True)):
        whole = head % byte + b"\r\nContent-Length: 3"
        plain = plain_response(whole)
        if plain is not None:
            plain_bytes += byte
            parts = _parts(httptools.HttpResponseParser, whole + b"\r\n\r\nabc")
            assert (parts.start, parts.pairs, parts.body, parts.ends) == (plain[1], plain[2], b"abc", 1)
    assert set(b"abcxyzABCXYZ0123456789-_") <= set(plain_bytes)


@pytest.mark.parametrize("digits", [b"5", b"17", b"0", b"0009"])
def test_heads_that_differ_in_length_alone_keep_their_own(digits: bytes) -> None:
    """What is remembered of one request's head never shows in the next one's."""
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nX-Content-Length: 7\r\nContent-Length: %b\r\nX: y"
    assert plain_request(head % b"7") is not None
    plain = plain_request(head % digits)
    assert plain is not None
    assert plain[2].content_length == int(digits)
    assert plain[1][2] == (b"Content-Length", digits)
    assert rendered(plain[2].forward) == b"X-Content-Length: 7\r\nContent-Length: %b\r\nX: y\r\n" % digits


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\nG", b"GET / HTTP/1.1\r\nHost", b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"])  # fmt: skip
def test_what_is_no_single_message_leaves_no_trace(data: bytes) -> None:
    """A client's broken request is not mixed with the next client's."""
    messages = WholeMessages(httptools.HttpRequestParser)
    whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert not messages.is_one(data)
    assert messages.is_one(whole)


@pytest.mark.parametrize("name", [b"Content-Length", b"content-length", b"CONTENT-LENGTH"])
def test_answers_and_changes_are_kept_for_heads_of_one_shape(name: bytes) -> None:
    """A question is asked, and a change made, once; each request keeps its own length."""
    asked: list[HeaderPairs] = []

    def without_x(lines: HeaderPairs) -> HeaderPairs:
        asked.append(lines)
        return [pair for pair in lines if pair[0] != b"X"]

    for digits in (b"5", b"17"):
        plain = plain_request(b"POST /shape HTTP/1.1\r\nHost: a\r\nX: y\r\n%b: %b" % (name, digits))
        assert plain is not None
        lines = changed(plain[2].forward, ("without", b"X"), without_x)
        assert rendered(lines) == b"%b: %b\r\n" % (name, digits)
        assert list(lines) == [(name, digits)]
        assert answer(plain[2].forward, len) == 2
    assert len(asked) == (2 if name == b"CONTENT-LENGTH" else 1)


def test_changing_the_lines_of_a_head_that_has_none_left() -> None:
    """A request with nothing but Host gets its credential all the same."""
    plain = plain_request(b"GET /bare HTTP/1.1\r\nHost: a")
    assert plain is not None
    assert changed(plain[2].forward, "add", lambda lines: [*lines, (b"A", b"b")]) == [(b"A", b"b")]
