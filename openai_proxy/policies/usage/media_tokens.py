"""How many model tokens an image, a sound or a file in a prompt may take. Pure.

By rules of their own (tiles, seconds, pages), never by their bytes: a photo
of 300 KB is a thousand tokens, not a hundred thousand. The rules are those
that OpenAI publishes for its models with vision and sound; other models come
near enough for a reservation, which the reported usage replaces.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Any

UNKNOWN_IMAGE_TOKENS = 765
"""A square of 1,024 pixels: what a URL points to, or a format that is not read here."""
UNKNOWN_FILE_TOKENS = 1000
LOW_DETAIL_TOKENS = 85
TILE_TOKENS = 170
TILE_PIXELS = 512
LONGEST_SIDE = 2048
SHORTEST_SIDE = 768
TOKENS_PER_PAGE = 1500
"""Of a PDF, whose pages are given to the model as text and as images."""
BYTES_PER_PAGE = 50_000
"""If a PDF does not show how many pages it has."""
VIDEO_TOKENS_PER_S = 300
VIDEO_BYTES_PER_S = 250_000
AUDIO_TOKENS_PER_S = 10
COMPRESSED_AUDIO_BYTES_PER_S = 16_000
PCM_BYTES_PER_S = 48_000
"""What is called pcm16: 24,000 samples of 2 bytes."""
MOST_TOKENS = 10_000_000

_HEAD_CHARACTERS = 128 * 1024
"""The most of an image that is decoded: a JPEG may have its size after 64 KiB of EXIF data."""
_PAGE = re.compile(rb"/Type\s{0,8}/Page(?![a-zA-Z])")
_BASE64 = ";base64,"


def image_tokens(url: Any, detail: Any = None) -> int:
    """Return the tokens of an image, given as a URL or a data URL, by its tiles of 512 pixels."""
    if detail == "low":
        return LOW_DETAIL_TOKENS
    size = maybe_image_size(_decoded(url, _HEAD_CHARACTERS)) if isinstance(url, str) else None
    return UNKNOWN_IMAGE_TOKENS if size is None else _tiled(*size)


def _tiled(width: int, height: int) -> int:
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    scale *= min(1.0, SHORTEST_SIDE / max(1.0, min(width, height) * scale))
    across = -(-max(1, round(width * scale)) // TILE_PIXELS)
    down = -(-max(1, round(height * scale)) // TILE_PIXELS)
    return LOW_DETAIL_TOKENS + TILE_TOKENS * across * down


def audio_tokens(data: Any, audio_format: Any = None) -> int:
    """Return the tokens of a sound in base64, by its seconds."""
    if not isinstance(data, str):
        return AUDIO_TOKENS_PER_S
    head = _decoded(data, 64)
    rate = COMPRESSED_AUDIO_BYTES_PER_S
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE" and len(head) >= 32:
        rate = int.from_bytes(head[28:32], "little") or PCM_BYTES_PER_S  # the format's bytes per second
    elif audio_format in ("wav", "pcm16", "pcm"):
        rate = PCM_BYTES_PER_S
    seconds = len(data) * 3 / 4 / rate
    return min(MOST_TOKENS, int(seconds * AUDIO_TOKENS_PER_S) + 1)


def file_tokens(data: Any) -> int:
    """Return the tokens of a file in base64, with or without a data URL's beginning: by the pages of a PDF.

    Other files are text, of which a token has four bytes. O(n) over the file.
    """
    if not isinstance(data, str) or not data:
        return UNKNOWN_FILE_TOKENS
    size_bytes = len(data) * 3 // 4
    if _decoded(data, 64)[:5] != b"%PDF-":
        return min(MOST_TOKENS, size_bytes // 4 + 1)
    pages = len(_PAGE.findall(_decoded(data, len(data))))
    return min(MOST_TOKENS, TOKENS_PER_PAGE * (pages or size_bytes // BYTES_PER_PAGE + 1))


def video_tokens(url: Any) -> int:
    """Return the tokens of a video, given as a URL or a data URL, by its seconds."""
    if not isinstance(url, str) or not url.startswith("data:"):
        return UNKNOWN_FILE_TOKENS
    seconds = len(url) * 3 / 4 / VIDEO_BYTES_PER_S
    return min(MOST_TOKENS, int(seconds * VIDEO_TOKENS_PER_S) + 1)


def _decoded(text: str, most_characters: int) -> bytes:
    """Return the bytes of base64 text or of a data URL as far as `most_characters`; empty if it is none."""
    start = 0
    if text.startswith("data:"):
        start = text.find(_BASE64, 0, 256) + len(_BASE64)
        if start < len(_BASE64):
            return b""
    piece = text[start : start + most_characters]
    try:
        return binascii.a2b_base64(piece[: len(piece) // 4 * 4])
    except ValueError:
        return b""


def maybe_image_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels from the beginning of a PNG, JPEG, GIF or WebP file; None if unknown."""
    size: tuple[int, int] | None = None
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    elif data[:4] == b"GIF8" and len(data) >= 10:
        size = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        size = _webp_size(data)
    elif data[:2] == b"\xff\xd8":
        size = next(_jpeg_sizes(data), None)
    return size if size is not None and min(size) > 0 else None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None


def _jpeg_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the sizes in the frame headers (SOF0 to SOF15 without DHT, JPG and DAC; ITU T.81 B.2.2)."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            yield int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        # a fill byte stands by itself; every other segment says its length, at least the two bytes that say it
        at += 1 if marker == 0xFF else 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
