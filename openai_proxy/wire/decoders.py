"""A decoder for each content coding: gzip, deflate, br and zstd; also for no coding, and for several in a chain. Pure.

`codings` chooses among them: call its `maybe_decoder` instead of a class from here.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

_GZIP_BITS = zlib.MAX_WBITS | 16
_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZSTD_MAGICS = (b"\x28\xb5\x2f\xfd",)
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
"""Bytes two to four of a frame without content (RFC 8878 §3.1.2); the first one is 0x50 to 0x5F."""
LARGE_SLICE, _SMALL_SLICE = 16 * 1024, 512
_ZSTD_SLICE = 8
"""Bytes given to zstd at a time. Four may stand for 128 KiB, and its output cannot be limited otherwise."""
_ZSTD_WINDOW_BYTES = 8 * 1024 * 1024
"""RFC 9659: no decoder of HTTP content needs a larger one."""


class CodingError(ValueError):
    """The body does not match its Content-Encoding."""


class Decoder(Protocol):
    """A body being decoded, piece by piece."""

    @property
    def whole(self) -> bool:
        """Whether the input so far is complete."""
        ...

    def put(self, data: bytes) -> None:
        """Add input."""
        ...

    def next_piece(self, limit_bytes: int) -> bytes:
        """Return the next bytes, empty if more input is needed.

        About `limit_bytes` at most: up to twice as much for br, up to 384 KiB for zstd.
        Raises CodingError.
        """
        ...


class _Input:
    """Input chunks that are not decoded yet. Reading them takes linear time."""

    __slots__ = ("_at", "_chunks")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._at = 0

    def __bool__(self) -> bool:
        return bool(self._chunks)

    def put(self, data: bytes) -> None:
        if data:
            self._chunks.append(data)

    def peek(self, limit_bytes: int) -> bytes:
        """Return the next bytes, of one chunk, without taking them."""
        return self._chunks[0][self._at : self._at + limit_bytes] if self._chunks else b""

    def take(self, size_bytes: int) -> None:
        """Take bytes that `peek` returned."""
        self._at += size_bytes
        if self._chunks and self._at >= len(self._chunks[0]):
            self._chunks.popleft()
            self._at = 0

    def clear(self) -> None:
        self._chunks.clear()
        self._at = 0


class Plain:
    """No coding at all."""

    whole = True

    def __init__(self) -> None:
        self._input = _Input()

    def put(self, data: bytes) -> None:
        self._input.put(data)

    def next_piece(self, limit_bytes: int) -> bytes:
        piece = self._input.peek(limit_bytes)
        self._input.take(len(piece))
        return piece


class _Members:
    """A coding whose bodies are sequences of members: gzip and zstd.

    States: between members (the first bytes of the next one are collected in
    `_begun`), inside one (`_decoder` is set), over (the rest is not a member,
    and is ignored, as by curl). A member of a few bytes costs a copy of a small
    slice, never one of all waiting input.
    """

    def __init__(self) -> None:
        self._input = _Input()
        self._decoder: Any = None
        self._begun = b""
        self._any = False
        self._over = False
        self._slice = LARGE_SLICE

    @property
    def whole(self) -> bool:
        return self._decoder is None and (self._any or not self._begun)

    def put(self, data: bytes) -> None:
        if not self._over:
            self._input.put(data)

    def next_piece(self, limit_bytes: int) -> bytes:
        while True:
            if self._decoder is None and not self._begin():
                return b""
            piece, waits = self._step(limit_bytes)
            if piece or waits:
                return piece

    def _begin(self) -> bool:
        """Look for the next member; return whether one has begun."""
        while not self._over and self._input:
            byte = self._input.peek(1)
            if self._any and not self._begun and byte == b"\0":  # padding, as on tapes
                self._skip_padding()
                continue
            self._input.take(1)
            self._begun += byte
            if not self._may_begin(self._begun):
                if not self._any:
                    raise CodingError("the body does not begin as its coding does")
                self._over = True
                self._input.clear()
            elif len(self._begun) == self._magic_bytes:
                self._decoder = self._new()
                return True
        return False

    def _skip_padding(self) -> None:
        data = self._input.peek(LARGE_SLICE)
        self._input.take(len(data) - len(data.lstrip(b"\0")))

    def _ended(self) -> None:
        self._decoder = None
        self._begun = b""
        self._any = True
        self._slice = _SMALL_SLICE

    _magic_bytes: int

    def _may_begin(self, begun: bytes) -> bool:
        raise NotImplementedError

    def _new(self) -> Any:
        raise NotImplementedError

    def _step(self, limit_bytes: int) -> tuple[bytes, bool]:
        """Return a piece, and whether all input has been read."""
        raise NotImplementedError


class _Gzip(_Members):
    """RFC 1952: members, then NUL padding, then anything."""

    _magic_bytes = 3

    def _may_begin(self, begun: bytes) -> bool:
        return _GZIP_MAGIC.startswith(begun)

    def _new(self) -> Any:
        return zlib.decompressobj(_GZIP_BITS)

    def _step(self, limit_bytes: int) -> tuple[bytes, bool]:
        begun, self._begun = self._begun, b""
        data = begun or self._input.peek(self._slice)
        if not data:
            # All input is read, but zlib may hold back output above the limit.
            return _inflated(self._decoder, b"", limit_bytes), True
        piece = _inflated(self._decoder, data, limit_bytes)
        decoder = self._decoder
        if not begun:
            left = len(decoder.unused_data) if decoder.eof else len(decoder.unconsumed_tail)
            self._input.take(len(data) - left)
        if decoder.eof:
            self._ended()
        else:
            self._slice = min(self._slice * 2, LARGE_SLICE)
        return piece, False


def _inflated(decoder: Any, data: bytes, limit_bytes: int) -> bytes:
    try:
        piece: bytes = decoder.decompress(data, limit_bytes)
    except zlib.error as error:
        raise CodingError(str(error)) from None
    return piece


class _Deflate:
    """zlib's format, or bare deflate as some servers send it (RFC 9110 §8.4.1.2). Bytes after the end are ignored."""

    def __init__(self) -> None:
        self._input = _Input()
        self._decoder: Any = None

    @property
    def whole(self) -> bool:
        return self._decoder is None or bool(self._decoder.eof)

    def put(self, data: bytes) -> None:
        if self._decoder is None or not self._decoder.eof:
            self._input.put(data)

    def next_piece(self, limit_bytes: int) -> bytes:
        while True:
            data = self._input.peek(LARGE_SLICE)
            if self._decoder is None:
                if not data:
                    return b""
                bits = zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS
                self._decoder = zlib.decompressobj(bits)
            decoder = self._decoder
            if decoder.eof:
                self._input.clear()
                return b""
            piece = _inflated(decoder, data, limit_bytes)
            self._input.take(len(data) - len(decoder.unconsumed_tail))
            if piece or not data:
                return piece


class _Brotli:
    """RFC 7932. Bytes after the end are an error, as for curl and browsers."""

    def __init__(self) -> None:
        self._input = _Input()
        module = import_module("brotli")
        self._error: type[Exception] = module.error
        self._decoder: Any = module.Decompressor()
        self._any = False

    @property
    def whole(self) -> bool:
        return not self._any or bool(self._decoder.is_finished())

    def put(self, data: bytes) -> None:
        self._input.put(data)

    def next_piece(self, limit_bytes: int) -> bytes:
        decoder = self._decoder
        while not decoder.is_finished():
            data = b""
            if decoder.can_accept_more_data():
                data = self._input.peek(LARGE_SLICE)
                self._input.take(len(data))
                self._any = self._any or bool(data)
            try:
                piece: bytes = decoder.process(data, output_buffer_limit=limit_bytes)
            except self._error as error:
                raise CodingError(str(error)) from None
            if piece or not data:
                return piece
        self._input.clear()
        return b""


class _Zstd(_Members):
    """RFC 8878: frames, then anything."""

    _magic_bytes = 4

    def __init__(self) -> None:
        super().__init__()
        module = import_module("zstandard")
        self._error: type[Exception] = module.ZstdError
        self._make: Any = module.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
        self._held: deque[bytes] = deque()

    def _may_begin(self, begun: bytes) -> bool:
        if any(magic.startswith(begun) for magic in _ZSTD_MAGICS):
            return True
        return begun[0] & 0xF0 == 0x50 and _ZSTD_SKIPPABLE.startswith(begun[1:])

    def _new(self) -> Any:
        return self._make.decompressobj()

    def _step(self, limit_bytes: int) -> tuple[bytes, bool]:
        begun, self._begun = self._begun, b""
        data = begun or self._input.peek(_ZSTD_SLICE)
        if not data:
            return b"", True
        try:
            piece: bytes = self._decoder.decompress(data)
        except self._error as error:
            raise CodingError(str(error)) from None
        if not begun:
            self._input.take(len(data) - len(self._decoder.unused_data))
        if self._decoder.eof:
            self._ended()
        return piece, False


class Chain:
    """Several codings: `decoders` in the order of decoding."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    @property
    def whole(self) -> bool:
        return all(each.whole for each in self._decoders)

    def put(self, data: bytes) -> None:
        self._decoders[0].put(data)

    def next_piece(self, limit_bytes: int) -> bytes:
        return self._pull(len(self._decoders) - 1, limit_bytes)

    def _pull(self, number: int, limit_bytes: int) -> bytes:
        decoder = self._decoders[number]
        while not (piece := decoder.next_piece(limit_bytes)):
            if not number or not (data := self._pull(number - 1, LARGE_SLICE)):
                return b""
            decoder.put(data)
        return piece


MAKERS: dict[bytes, Callable[[], Decoder]] = {
    b"gzip": _Gzip,
    b"x-gzip": _Gzip,
    b"deflate": _Deflate,
    b"br": _Brotli,
    b"zstd": _Zstd,
}
