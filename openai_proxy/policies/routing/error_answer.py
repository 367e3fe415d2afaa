"""The error in an answer that is one, in the shapes in which servers send it. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from ...exchange.record import HeaderPairs
from ...wire.body_headers import media_type_and_coding
from ...wire.codings import maybe_decoded

PEEK_BYTES = 64 * 1024


def error_document(body: bytes, headers: HeaderPairs) -> dict[str, Any]:
    """Return the JSON object in which an answer that begins with `body` has its error; empty if it cannot be read.

    Gemini puts the object into a list. Of a compressed body, up to 64 KiB are read.
    """
    _, coding = media_type_and_coding(headers)
    if coding:
        decoded = maybe_decoded(body, coding, PEEK_BYTES)
        if decoded is None:
            return {}
        body = decoded[0]
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(document, list) and document:
        document = document[0]
    return document if isinstance(document, dict) else {}
