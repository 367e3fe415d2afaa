"""Header lines of a response that is sent often: rendered once. Pure."""

from __future__ import annotations

from ..exchange.record import HeaderPairs
from .headers import render


class WireLines(list[tuple[bytes, bytes]]):
    """Header pairs that know their bytes on the wire.

    `raw` is the lines with their CRLF, `media` the media type and content
    coding, as `body_headers` reads them. Whoever changes headers makes a new
    list, which has neither.
    """

    __slots__ = ("media", "raw")
    raw: bytes
    media: tuple[bytes, bytes]


def wire_lines(pairs: HeaderPairs, media: tuple[bytes, bytes]) -> WireLines:
    """Return a response's lines as ones that are rendered once and used often.

    `media` is what `body_headers.media_type_and_coding` says of them.
    """
    lines = WireLines(pairs)
    lines.raw = render(pairs)
    lines.media = media
    return lines


def rendered(pairs: HeaderPairs) -> bytes:
    """Return the lines as they go on the wire, each with its CRLF."""
    return pairs.raw if type(pairs) is WireLines else render(pairs)
