"""Recognise an answer which says that a request is too long for the model of its upstream. Pure."""

from __future__ import annotations

import orjson

from ...exchange.record import HeaderPairs
from ...wire.body_headers import media_type_and_coding
from ...wire.codings import maybe_decoded

PEEK_BYTES = 64 * 1024
_CODES = frozenset(("context_length_exceeded", "exceed_context_size_error"))
"""What `error.code` is at OpenAI, and `error.type` at llama.cpp."""
_WORDS = ("context length", "context window", "context size")
_LONGEST_MESSAGE = 1000


def says_too_long(body: bytes, headers: HeaderPairs) -> bool:
    """Return whether an error that begins with `body` is about the length of the context.

    Decides by `error.code` and `error.type`, else by the words of the message,
    which vLLM has beside no code, and older ones not even in an `error`.
    """
    _, coding = media_type_and_coding(headers)
    if coding:
        decoded = maybe_decoded(body, coding, PEEK_BYTES)
        body = b"" if decoded is None else decoded[0]
    try:
        document = orjson.loads(body)
        error = document.get("error") or document
        words, message = (error.get("code"), error.get("type")), error.get("message")
    except (ValueError, AttributeError):
        return False
    if any(isinstance(word, str) and word in _CODES for word in words):
        return True
    message = message[:_LONGEST_MESSAGE].lower() if isinstance(message, str) else ""
    return any(map(message.__contains__, _WORDS))
