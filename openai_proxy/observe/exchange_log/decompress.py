"""Decode a compressed body for the log, never to more than a limit.

zlib always; brotli and zstandard where they are installed. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module

_STEP = 65536


def decompressed(data: bytes, encoding: str, limit_bytes: int) -> tuple[bytes, bool] | None:
    """Return the first `limit_bytes` of the decoded body, and whether that is all of it.

    None where the encoding is not known here or the data is broken. Work
    and memory are bounded by the limit, however much the data expands to.
    """
    codings = [each.strip().lower() for each in encoding.split(",") if each.strip()]
    whole = True
    for coding in reversed(codings):
        decode = _DECODERS.get(coding)
        if decode is None:
            return None
        try:
            data, all_of_it = decode(data, limit_bytes)
        except Exception:  # each library raises its own class for broken data
            return None
        whole = whole and all_of_it
    return data, whole


def _identity(data: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    return data[:limit_bytes], len(data) <= limit_bytes


def _zlib(window_bits: int) -> Callable[[bytes, int], tuple[bytes, bool]]:
    def decode(data: bytes, limit_bytes: int) -> tuple[bytes, bool]:
        decoder = zlib.decompressobj(window_bits)
        out = decoder.decompress(data, limit_bytes + 1)
        return out[:limit_bytes], decoder.eof and len(out) <= limit_bytes

    return decode


def _deflate(data: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    # RFC 9110 §8.4.1.2: meant with the zlib wrapper, often sent without.
    try:
        return _zlib(zlib.MAX_WBITS)(data, limit_bytes)
    except zlib.error:
        return _zlib(-zlib.MAX_WBITS)(data, limit_bytes)


def _brotli(data: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    decoder = import_module("brotli").Decompressor()
    out: list[bytes] = []
    size = 0
    while size <= limit_bytes and not decoder.is_finished():
        piece = decoder.process(data, output_buffer_limit=_STEP)
        if not piece and not data:
            return b"".join(out), False
        out.append(piece)
        size += len(piece)
        data = b""
    return b"".join(out)[:limit_bytes], size <= limit_bytes


def _zstd(data: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    import zstandard

    reader = zstandard.ZstdDecompressor(max_window_size=1 << 23).stream_reader(data)
    out = reader.read(limit_bytes + 1)
    return out[:limit_bytes], len(out) <= limit_bytes


_DECODERS: dict[str, Callable[[bytes, int], tuple[bytes, bool]]] = {
    "identity": _identity,
    "gzip": _zlib(zlib.MAX_WBITS | 16),
    "x-gzip": _zlib(zlib.MAX_WBITS | 16),
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
