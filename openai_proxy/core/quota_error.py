"""Tell apart the kinds of 429 by their body. Pure."""

from __future__ import annotations

import zlib

import orjson

PEEK_BYTES = 64 * 1024
NO_QUOTA = "insufficient_quota"


def error_code(body: bytes, headers: list[tuple[bytes, bytes]]) -> str:
    """Return `error.code` (else `error.type`) of a JSON error, "" where it can not be read.

    Where either says that the quota is used up, that is what it is about. A gzip or deflate body is looked into, up to 64 KiB of it.
    """
    encoding = b""
    for name, value in headers:
        if name.lower() == b"content-encoding":
            encoding = value.strip().lower()
    try:
        if encoding in (b"gzip", b"x-gzip", b"deflate"):
            body = zlib.decompressobj(wbits=47).decompress(body, PEEK_BYTES)
        document = orjson.loads(body)
        error = document["error"]
        words = error.get("code"), error.get("type")
        code = NO_QUOTA if NO_QUOTA in words else words[0] or words[1]
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error):
        return ""
    return code if isinstance(code, str) else ""
