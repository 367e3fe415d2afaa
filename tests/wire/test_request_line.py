"""The first line of a request: one spelling passes, however TCP cuts it."""

from __future__ import annotations

import pytest
from fakes import Source

from openai_proxy.downstream.contract import DownstreamLimits
from openai_proxy.downstream.request_reader import RequestReader
from openai_proxy.exchange.errors import MalformedRequest, MethodNotAllowed, URITooLong
from openai_proxy.wire.request_line import WHOLE_LINE, judge_start

REST = b"Host: a\r\nContent-Length: 5\r\n\r\nhello"
ODD = [
    b"POST /v1/chat/completions\nX:y HTTP/1.1", b"POST /v1/chat/completions\nContent-Length:0, HTTP/1.1",
    b"POST /v1/files\rX:y HTTP/1.1", b"POST /v1/files\x00 HTTP/1.1", b"POST /v1/files?a=b\nX:y HTTP/1.1",
    b"POST /v1/files RTSP/1.0", b"POST /v1/files RTSP/1.1", b"POST /v1/files ICE/1.0", b"SOURCE /v1/files ICE/1.0",
    b"POST /v1/files HTTP/1.2", b"POST /v1/files HTTP/2.0", b"POST /v1/files HTTP/0.9", b"POST /v1/files http/1.1",
    b"POST /v1/files", b"POST /v1/files ", b"POST  /v1/files HTTP/1.1", b"POST /v1/files  HTTP/1.1",
    b"POST /v1/files HTTP/1.1 ", b" POST /v1/files HTTP/1.1", b"POST\t/v1/files HTTP/1.1", b"POST /v1/files HTTP/1.1\nX: y",
    b"POST /v1/a\tb HTTP/1.1", b"POST /v1/a\x7fb HTTP/1.1", b"POST /v1/a\x80b HTTP/1.1", b"POST /v1/a\x0cb HTTP/1.1",
    b'"POST" /v1/files HTTP/1.1', b"PO\x00ST /v1/files HTTP/1.1", b"\x00POST /v1/files HTTP/1.1", b"PRI * HTTP/2.0",
    b"POST /v1/files HTTP/11", b"POST /v1/files HTTP/1.1\x00", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]  # fmt: skip


def read(*pieces: bytes, **limits: int) -> RequestReader:
    reader = RequestReader(Source(), DownstreamLimits(**limits), b"openai-proxy")  # type: ignore[arg-type]
    for piece in pieces:
        if reader.broken is None:
            reader.feed(piece)
    return reader


def pieces(raw: bytes, how: str) -> list[bytes]:
    if how == "whole":
        return [raw]
    if how == "byte by byte":
        return [raw[at : at + 1] for at in range(len(raw))]
    return [raw[:9], raw[9:17], raw[17:]]


HONEST = b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /v1/files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize("how", ["whole", "byte by byte", "in three"])
@pytest.mark.parametrize("before", [b"", HONEST, CHUNKED], ids=["first", "after a length", "after chunks"])
@pytest.mark.parametrize("line", ODD)
def test_an_odd_first_line_is_refused_however_it_comes(line: bytes, before: bytes, how: str) -> None:
    """Once it passed if the whole message came in one read, and its line feed went upstream."""
    reader = read(*pieces(before + line + b"\r\n" + REST, how))
    assert type(reader.broken) is MalformedRequest
    assert len(reader.queue) == (1 if before else 0)


@pytest.mark.parametrize("how", ["whole", "byte by byte", "in three"])
@pytest.mark.parametrize("empty", [b"", b"\r\n", b"\n", b"\r", b"\r\n\r\n\n"])
def test_empty_lines_before_a_request_are_skipped(empty: bytes, how: str) -> None:
    """They are never a part of its method (RFC 9112 §2.2)."""
    reader = read(*pieces(empty + HONEST + empty + HONEST, how))
    assert [(each.method, each.target) for each in reader.queue] == [(b"POST", b"/v1/files")] * 2
    assert reader.broken is None


@pytest.mark.parametrize("how", ["whole", "byte by byte", "in three"])
@pytest.mark.parametrize("before", [b"", HONEST])
def test_an_unknown_method_is_reported_as_one(before: bytes, how: str) -> None:
    """Cut in its first line it was 400."""
    reader = read(*pieces(before + b"FOO /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", how))
    assert type(reader.broken) is MethodNotAllowed
    assert reader.broken_request().target == b"/v1/models"


def test_what_follows_a_chunked_body_may_be_cut_anywhere() -> None:
    """Only llhttp finds its end: the line after it is searched in all reads of its head."""
    raw = CHUNKED + HONEST + CHUNKED + HONEST
    for at in range(1, len(raw)):
        reader = read(raw[:at], raw[at:])
        assert reader.broken is None
        assert [each.body.received for each in reader.queue] == [5] * 4
        assert all(each.body.complete for each in reader.queue)


def test_a_first_line_is_limited_while_it_arrives() -> None:
    """A target above the limit, a method without end, empty lines without end: none is waited for."""
    assert type(read(b"GET /" + b"a" * 900, target_bytes=500).broken) is URITooLong
    assert type(read(b"GET /" + b"a" * 900 + b" HTTP/1.1\r\n", target_bytes=500).broken) is URITooLong
    assert read(b"GET /" + b"a" * 400, target_bytes=500).broken is None
    assert type(read(b"G" * 100).broken) is MalformedRequest
    assert type(read(b"GET / " + b"H" * 100).broken) is MalformedRequest
    assert type(read(*[b"\r\n" * 100] * 10, header_bytes=900).broken) is MalformedRequest


@pytest.mark.parametrize("size", [3, 11, 200])
def test_a_tls_handshake_is_named(size: int) -> None:
    """Who calls https:// at a plain port reads why it failed."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x0a" * 200
    reader = read(*[hello[at : at + 1] for at in range(size)])
    assert "TLS handshake" in reader.broken.message  # type: ignore[union-attr]


def test_no_more_is_taken_for_a_line_than_one_spelling() -> None:
    """Every single byte within it, one after the other."""
    for byte in map(bytes, zip(range(256), strict=True)):
        line = b"GET /a%bb HTTP/1.1\r\n" % byte
        assert bool(WHOLE_LINE.match(line)) == (0x21 <= byte[0] <= 0x7E)
        if WHOLE_LINE.match(line) is None:
            assert type(judge_start(line, 100)) is MalformedRequest
