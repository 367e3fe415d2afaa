"""Heads go on the wire as HTTP/1.1 spells them."""

import pytest

from openai_proxy.wire.body_headers import media_type_and_coding, with_length
from openai_proxy.wire.render import (
    connection_line,
    header_lines,
    rendered_lines,
    request_head,
    response_head,
)


def test_header_lines_keep_their_order_and_spelling():
    """Names and values pass byte for byte; the same name may come twice."""
    pairs = [(b"a", b"2"), (b"B", b"3"), (b"a", b"\xff")]
    assert header_lines(pairs) == b"a: 2\r\nB: 3\r\na: \xff\r\n"
    assert header_lines([]) == b""


def test_lines_of_a_response_that_is_sent_often_are_rendered_once():
    """They say what plain lines say; changed ones are plain lines again."""
    lines = rendered_lines([(b"Content-Type", b"a/b"), (b"Content-Length", b"5")], (b"a/b", b""))
    assert header_lines(lines) is header_lines(lines)
    assert header_lines(lines) == header_lines(list(lines))
    assert media_type_and_coding(lines) == media_type_and_coding(list(lines))
    assert header_lines(with_length(lines, 6)) == b"Content-Type: a/b\r\nContent-Length: 6\r\n"


@pytest.mark.parametrize(
    ("http11", "keep_alive", "line"),
    [
        (True, True, b""),
        (True, False, b"Connection: close\r\n"),
        (False, True, b"Connection: keep-alive\r\n"),
        (False, False, b"Connection: close\r\n"),
    ],
)
def test_connection_line_says_what_the_version_does_not(http11, keep_alive, line):
    """HTTP/1.1 stays open and HTTP/1.0 closes if nothing else is said."""
    assert connection_line(http11, keep_alive) == line


def test_heads_of_requests_and_responses():
    """The first line, the header lines, an empty line."""
    lines = header_lines([(b"A", b"b")])
    assert (
        request_head(b"POST", b"/v1/x?y", b"h:1", lines)
        == b"POST /v1/x?y HTTP/1.1\r\nHost: h:1\r\nA: b\r\n\r\n"
    )
    assert response_head(404, b"Not Found", lines) == b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n"
    assert response_head(200, b"", b"") == b"HTTP/1.1 200 \r\n\r\n"
