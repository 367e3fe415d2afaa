"""gzip and deflate taken off a body piece by piece, in all the forms that servers send. Pure."""

from __future__ import annotations

import zlib
from typing import Any

_GZIP = zlib.MAX_WBITS | 16
_WINDOW_BITS = {b"gzip": _GZIP, b"x-gzip": _GZIP, b"deflate": zlib.MAX_WBITS}

CODINGS = frozenset(_WINDOW_BITS)
"""Content codings that an `Inflater` takes off, in lower case."""


class Inflater:
    """What zlib makes of a compressed body.

    gzip may have several members (RFC 1952 §2.2) and padding behind them;
    deflate may lack its zlib wrapper (RFC 9110 §8.4.1.2: some send it so).
    Holds what was put in and not yet read. Broken data raises `zlib.error`.
    """

    def __init__(self, coding: bytes) -> None:
        self._window_bits = _WINDOW_BITS[coding]
        self._decoder: Any = None
        self._waiting = b""

    @property
    def whole(self) -> bool:
        """What was put in is no cut-off beginning: nothing is begun that has no end."""
        return self._decoder is None

    def put(self, data: bytes) -> None:
        """Add what came."""
        self._waiting += data

    def next_piece(self, limit_bytes: int) -> bytes:
        """Return the next bytes, at most so many; empty where more must be put in."""
        while True:
            decoder = self._decoder
            if decoder is None:
                self._waiting = self._waiting.lstrip(b"\0")  # padding behind the last member
                if not self._waiting:
                    return b""
                decoder = self._decoder = zlib.decompressobj(self._bits())
            piece: bytes = decoder.decompress(self._waiting, limit_bytes)
            self._waiting = decoder.unconsumed_tail
            if decoder.eof:
                self._waiting = decoder.unused_data
                self._decoder = None
            if piece or not decoder.eof:
                return piece

    def _bits(self) -> int:
        if self._window_bits == zlib.MAX_WBITS and self._waiting[0] & 0x0F != 8:
            return -zlib.MAX_WBITS
        return self._window_bits
