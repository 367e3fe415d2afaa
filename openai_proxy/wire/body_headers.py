"""Header lines that speak about a body: its type, coding and length. Pure."""

from __future__ import annotations

from ..exchange.record import HeaderLines, HeaderPairs
from .headers import ReadLines, media_type, one_coding

EVENT_STREAM, JSON = b"text/event-stream", b"application/json"
"""Media types of the API's answers."""
_TYPE_LENGTH, _CODING_LENGTH = len(b"content-type"), len(b"content-encoding")


def media_type_and_coding(headers: HeaderLines) -> tuple[bytes, bytes]:
    """Return media type (without parameters) and content coding, lower-cased; empty if absent or none.

    Several codings, in one line or in several, are one list (RFC 9110 §8.4),
    as `codings.maybe_decoder` takes it.
    """
    if isinstance(headers, ReadLines):
        return headers.media
    kind, codings = b"", list[bytes]()
    for name, value in headers:
        length = len(name)  # of most lines enough to know that they are neither
        if length == _TYPE_LENGTH and name.lower() == b"content-type":
            kind = media_type(value)
        elif length == _CODING_LENGTH and name.lower() == b"content-encoding":
            codings.append(value.strip())
    return kind, one_coding(codings)


def is_event_stream(kind: bytes, streaming: bool = False) -> bool:
    """Whether a body of media type `kind` is server-sent events; `streaming`: a stream was asked for.

    Then other text, or what has no type, is one too: small servers leave
    their framework's default, and SDKs do not look at it.
    """
    if kind == EVENT_STREAM:
        return True
    return streaming and (not kind or kind.startswith(b"text/"))


def ask_identity(headers: HeaderPairs) -> HeaderPairs:
    """Return the header lines with one `Accept-Encoding: identity`, in the place of the client's."""
    asked: HeaderPairs = []
    found = False
    for name, value in headers:
        if name.lower() != b"accept-encoding":
            asked.append((name, value))
        elif not found:
            found = True
            asked.append((name, b"identity"))
    if not found:
        asked.append((b"Accept-Encoding", b"identity"))
    return asked


def without_coding(headers: HeaderPairs) -> HeaderPairs:
    """Return the header lines for the same body in plain UTF-8: no Content-Encoding, no other charset."""
    lines = []
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"content-encoding":
            continue
        if lowered == b"content-type" and b"charset" in value.lower():
            value = value.partition(b";")[0].rstrip()
        lines.append((name, value))
    return lines


def with_length(headers: HeaderPairs, size_bytes: int) -> HeaderPairs:
    """Return the header lines with a new Content-Length, if there was one, in its place."""
    length = b"%d" % size_bytes
    return [(name, length if name.lower() == b"content-length" else value) for name, value in headers]
