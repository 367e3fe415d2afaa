"""Codings that need a library of their own, taken off piece by piece.

brotli and zstandard, where they are installed (extra `[codecs]`). Nothing
that passes is changed by it; zlib's codings are read without this.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from attrs import frozen

_STEP_BYTES = 64 * 1024
_WINDOW_BYTES = 8 * 1024 * 1024
"""RFC 9659: no decoder of HTTP content needs a larger one."""

Unpack = Callable[[bytes], object]
Write = Callable[[bytes], object]


def maybe_unpack(coding: bytes, write: Write) -> Unpack | None:
    """Return what takes a body in this coding as it comes and gives `write` what it holds.

    None where the coding is not known here, or its library is not
    installed. `write` gets some 64 KiB at a time, and ends the work by
    raising. Broken data raises the library's own exception.
    """
    make = _MAKERS.get(coding)
    if make is None:
        return None
    try:
        return make(write)
    except ImportError:
        return None


def _brotli(write: Write) -> Unpack:
    decoder = import_module("brotli").Decompressor()

    def unpack(data: bytes) -> None:
        while not decoder.is_finished():
            piece = decoder.process(data, output_buffer_limit=_STEP_BYTES)
            if not piece:
                return
            write(piece)
            data = b""

    return unpack


@frozen
class _Sink:
    """As much of a file as zstandard wants."""

    write: Write


def _zstd(write: Write) -> Unpack:
    decoder = import_module("zstandard").ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    unpack: Any = decoder.stream_writer(_Sink(write), write_size=_STEP_BYTES).write
    return unpack  # type: ignore[no-any-return]  # zstandard has no types here


_MAKERS: dict[bytes, Callable[[Write], Unpack]] = {b"br": _brotli, b"zstd": _zstd}
