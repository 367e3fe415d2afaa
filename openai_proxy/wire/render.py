"""Renders heads: the first line of a message and its header lines. Pure.

Every head that leaves this proxy is put together here, on both edges.
"""

from __future__ import annotations

from ..exchange.record import HeaderPairs
from .headers import ReadLines, announced_length, get

_KEEP_ALIVE = b"Connection: keep-alive\r\n"
_CLOSE = b"Connection: close\r\n"


class RenderedLines(ReadLines):
    """Header pairs that carry their bytes on the wire, for a response that is sent often.

    `raw` is the lines with their CRLF.
    """

    __slots__ = ("raw",)
    raw: bytes


def rendered_lines(pairs: HeaderPairs, media: tuple[bytes, bytes]) -> RenderedLines:
    """Render a response's lines once, for many uses.

    `media` is what `body_headers.media_type_and_coding` says of them.
    """
    lines = RenderedLines(pairs)
    lines.raw = header_lines(pairs)
    lines.media = media
    lines.request_id = get(pairs, b"x-request-id")
    lines.content_length = announced_length(pairs)
    return lines


def header_lines(pairs: HeaderPairs) -> bytes:
    """Return the lines as they go on the wire, each with its CRLF."""
    if type(pairs) is RenderedLines:
        return pairs.raw
    return b"\r\n".join(map(b": ".join, pairs)) + b"\r\n" if pairs else b""


def connection_line(http11: bool, keep_alive: bool) -> bytes:
    """Return the line that says whether the connection stays open, empty if the version's default says it."""
    if not keep_alive:
        return _CLOSE
    return b"" if http11 else _KEEP_ALIVE


def request_head(method: bytes, target: bytes, host: bytes, lines: bytes) -> bytes:
    """Return a request's head; `lines` are rendered ones, without Host."""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, target, host, lines)


def response_head(status: int, reason: bytes, lines: bytes) -> bytes:
    """Return a response's head; `lines` are rendered ones."""
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, lines)
