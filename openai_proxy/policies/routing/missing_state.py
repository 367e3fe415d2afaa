"""Recognise an answer which says that its upstream does not have the state that a request refers to. Pure."""

from __future__ import annotations

from ...exchange.record import HeaderPairs
from .error_answer import error_document

STATUSES = (400, 404)
"""OpenAI uses either of them."""
_CODES = frozenset(
    ("previous_response_not_found", "invalid_encrypted_content", "conversation_not_found", "item_not_found")
)
_ABSENT = ("not found", "not be found", "does not exist", "could not be verified")
_KINDS = (
    "with id",
    "response",
    "conversation",
    "container",
    "file",
    "item",
    "vector store",
    "batch",
    "encrypted",
)
_LONGEST_MESSAGE = 1000


def says_missing(status: int, body: bytes, headers: HeaderPairs) -> bool:
    """Return whether an error that begins with `body` is about missing state, and nothing else.

    Decides by `error.code`, else by the words of `error.message`. A missing
    model does not count.
    """
    if status not in STATUSES:
        return False
    error = error_document(body, headers).get("error")
    if not isinstance(error, dict):
        return False
    code, message = error.get("code"), error.get("message")
    if isinstance(code, str) and code in _CODES:
        return True
    if isinstance(code, str) and "model" in code:
        return False
    return isinstance(message, str) and _means_missing(message[:_LONGEST_MESSAGE].lower())


def _means_missing(message: str) -> bool:
    if message.startswith("no such "):
        return True
    is_absent = any(map(message.__contains__, _ABSENT)) and not message.startswith("the model")
    return is_absent and any(map(message.__contains__, _KINDS))
