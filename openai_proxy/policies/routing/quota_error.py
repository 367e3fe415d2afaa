"""Distinguish the kinds of 429 by their body. Pure."""

from __future__ import annotations

import orjson

from ...exchange.record import HeaderPairs
from ...wire.body_headers import media_type_and_coding
from ...wire.codings import maybe_decoded

PEEK_BYTES = 64 * 1024
NO_QUOTA = "insufficient_quota"


def error_code(body: bytes, headers: HeaderPairs) -> str:
    """Return `error.code` (else `error.type`) of a JSON error, "" if it cannot be read.

    If either says that the quota is used up, that one is returned. Of a
    compressed body, up to 64 KiB are read.
    """
    _, coding = media_type_and_coding(headers)
    if coding:
        decoded = maybe_decoded(body, coding, PEEK_BYTES)
        if decoded is None:
            return ""
        body = decoded[0]
    try:
        document = orjson.loads(body)
        error = document["error"]
        words = error.get("code"), error.get("type")
        code = NO_QUOTA if NO_QUOTA in words else words[0] or words[1]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return code if isinstance(code, str) else ""
