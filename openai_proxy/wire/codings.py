"""Decode the content codings of a body: gzip, deflate, br, zstd and lists of them. Pure.

The only decoder of the package. Everything that reads a compressed body uses
it, so that no two readers disagree about its contents. Output comes in pieces
of limited size, and the time is linear in input and output for any body. br and
zstd need the extra `[codecs]`.
"""

from __future__ import annotations

from .decoders import LARGE_SLICE, MAKERS, Chain, CodingError, Decoder, Plain

_MOST_CODINGS = 4
"""A body with more nested codings than this counts as one in an unknown coding."""


def codings_of(values: bytes) -> tuple[bytes, ...]:
    """Return the codings of a Content-Encoding in the order of their application, without what is none.

    `values` is the value of the only line, or of several joined by commas
    (RFC 9110 §5.3, §8.4).
    """
    return tuple([name for each in values.split(b",") if (name := each.strip(b" \t").lower()) not in _NONE])


_NONE = frozenset((b"", b"identity", b"none", b"utf-8", b"utf8"))
"""Names under which the bytes are the body itself: servers write `none` so that nothing on the way compresses
their stream, and others give the charset in this place."""


def maybe_decoder(coding: bytes) -> Decoder | None:
    """Return a new decoder of `coding`, the value of a Content-Encoding; None if one of its names is unknown.

    Without a coding the bytes pass unchanged.
    """
    names = codings_of(coding)
    if len(names) > _MOST_CODINGS:
        return None
    try:
        decoders = [MAKERS[name]() for name in reversed(names)]
    except (KeyError, ImportError):
        return None
    if not decoders:
        return Plain()
    return decoders[0] if len(decoders) == 1 else Chain(decoders)


def maybe_decoded(data: bytes, coding: bytes, limit_bytes: int) -> tuple[bytes, bool] | None:
    """Return the first `limit_bytes` of the decoded `data`, and whether that is all of it.

    None if the coding is unknown or the data is broken.
    """
    decoder = maybe_decoder(coding)
    if decoder is None:
        return None
    decoder.put(data)
    pieces: list[bytes] = []
    left = limit_bytes + 1
    try:
        while left > 0 and (piece := decoder.next_piece(min(left, LARGE_SLICE * 4))):
            pieces.append(piece)
            left -= len(piece)
    except CodingError:
        return None
    decoded = b"".join(pieces)
    return decoded[:limit_bytes], len(decoded) <= limit_bytes and decoder.whole
