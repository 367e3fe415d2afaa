"""Answers with a 200 that are none: errors in the body, half documents.

What is kept in a cache must not be one of these. Pure.
"""

from __future__ import annotations

import re

from .documents import maybe_object
from .sse import SSEDecoder

_finish = re.compile(rb'"finish_reason"[ \t]*:[ \t]*"')
_FAILURES = frozenset(("error", "response.failed"))
_ERROR_LIMIT_BYTES = 256 * 1024
"""Where an error is looked for: a larger document or event is an answer, whatever word is in it."""


def is_unfit(media_type: bytes, body: bytes, announced: bool) -> bool:
    """Say whether an answer without compression tells an error, is visibly cut, or is none of the API's.

    `announced` says that the head told its length, which it has. A body that
    ends with its connection may be cut anywhere, and a gateway may end one
    in order whose server has died: a document that does not end like one is
    cut, and so is a stream of choices that never finish. O(n); decodes only
    what has the word `error` in it.
    """
    if media_type == b"text/event-stream":
        return (b"error" in body and _tells_error(body)) or (not announced and _is_unfinished(body))
    if media_type != b"application/json":
        return media_type == b"text/html"  # a gateway's or a log-in's page
    if not body or (not announced and body.rstrip()[-1:] not in (b"}", b"]")):
        return True
    return b'"error"' in body and _is_error(body)


def _is_unfinished(stream: bytes) -> bool:
    return b'"choices"' in stream and b"[DONE]" not in stream and not _finish.search(stream)


def _is_error(document: bytes) -> bool:
    if len(document) > _ERROR_LIMIT_BYTES:
        return False
    members = maybe_object(document)
    return members is not None and (bool(members.get("error")) or members.get("type") in _FAILURES)


def _tells_error(stream: bytes) -> bool:
    decoder = SSEDecoder(_ERROR_LIMIT_BYTES)
    blocks = decoder.feed(stream) + decoder.finish()
    return any(
        block.data is not None and b'"error"' in block.data and _is_error(block.data) for block in blocks
    )
