"""Recognise responses with status 200 that are no answers: errors in the body, truncated documents.

They must not be stored in a cache. Pure.
"""

from __future__ import annotations

import re
from typing import Any

from ...wire.body_headers import EVENT_STREAM, JSON, is_event_stream
from ...wire.documents import maybe_object
from ...wire.first_events import error_of_answer, error_of_document, error_of_event, maybe_error
from ...wire.sse import SSEDecoder, begins_stream

_finish = re.compile(rb'"finish_reason"[ \t]*:[ \t]*"')
_ERROR_LIMIT_BYTES = 256 * 1024
"""The largest event that is searched for an error: a larger one is an answer, whatever words it contains."""
_DOCUMENT_LIMIT_BYTES = 1024 * 1024
"""A larger document counts as an answer if it ends like one; it is not decoded."""
_CLOSED_BY = {b"{": b"}", b"[": b"]"}
_ANSWERS = frozenset(("choices", "data", "output", "object", "id"))
"""An answer with one of _MESSAGES must have one of these members, else it is an error."""
_MESSAGES = frozenset(("detail", "message", "msg"))
"""Members in which web frameworks and gateways describe an error."""


def is_unfit(media_type: bytes, body: bytes, announced: bool) -> bool:
    """Say whether an answer (decoded) is an error, is visibly truncated, or is not one of the API's.

    `announced` means that the head gave the length and the body has it. A body
    that ends with its connection may be cut anywhere, and a gateway may end a
    stream properly although the server has died: so a stream whose choices
    never finish is truncated. A body without a type, or with a textual one, is
    judged by its beginning. O(n).
    """
    if _is_text(media_type):
        if begins_stream(body):
            media_type = EVENT_STREAM
        elif body.lstrip()[:1] == b"{":
            media_type = JSON
    if is_event_stream(media_type):
        return (b"error" in body and _tells_error(body)) or (not announced and _is_unfinished(body))
    if media_type == JSON:
        return _is_unfit_document(body, announced)
    return media_type == b"text/html"  # a gateway's or a log-in's page


def _is_text(media_type: bytes) -> bool:
    return not media_type or media_type == JSON or media_type.startswith(b"text/")


def _is_unfit_document(body: bytes, announced: bool) -> bool:
    first, last = body.lstrip()[:1], body.rstrip()[-1:]
    if not first or first == b"<" or (first in _CLOSED_BY and last != _CLOSED_BY[first]):
        return True
    if not announced and last not in (b"}", b"]"):
        return True
    if len(body) > _DOCUMENT_LIMIT_BYTES:
        return False
    if first != b"{":
        return error_of_document(body) is not None
    members = maybe_object(body)
    if members is None:
        return True
    if maybe_error(members) is not None or error_of_answer(members) is not None:
        return True
    return _is_empty(members) or _is_foreign(members)


def _is_empty(members: dict[str, Any]) -> bool:
    """Return whether there is only an answer's frame, or a choice that never finished."""
    choices = members.get("choices")
    if isinstance(choices, list):
        unfinished = any(
            isinstance(choice, dict) and choice.get("finish_reason", "") is None for choice in choices
        )
        return not choices or unfinished
    return ("choices" in members and choices is None) or members.get("data") == []


def _is_foreign(members: dict[str, Any]) -> bool:
    return not _MESSAGES.isdisjoint(members) and _ANSWERS.isdisjoint(members)


def _is_unfinished(stream: bytes) -> bool:
    return b'"choices"' in stream and b"[DONE]" not in stream and not _finish.search(stream)


def _tells_error(stream: bytes) -> bool:
    decoder = SSEDecoder(_ERROR_LIMIT_BYTES)
    blocks = decoder.feed(stream) + decoder.finish()
    return any(b"error" in block.raw and error_of_event(block) is not None for block in blocks)
