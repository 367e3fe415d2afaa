"""Which requests may reach an upstream twice, as far as the request itself says.

Whether an answer or a failure calls for that is in `retry_rules`. Pure.
"""

from __future__ import annotations

from typing import Any

from ...exchange.record import HeaderPairs

_SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS"))
"""Methods that change nothing (RFC 9110 §9.2.1)."""
_IDEMPOTENT = _SAFE | {b"PUT", b"DELETE"}
"""Methods that change the same however often they come (RFC 9110 §9.2.2)."""

_INFERENCES = frozenset(
    (
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
        "chat/completions",
        "completions",
        "edits",
        "embeddings",
        "images/edits",
        "images/generations",
        "images/variations",
        "moderations",
        "responses",
        "responses/compact",
        "responses/input_tokens",
        "responses/input_tokens/count",
    )
)
"""POST endpoints that run a model, and whose answer is their only effect."""


def has_idempotency_key(headers: HeaderPairs) -> bool:
    """Tell whether the client lets the upstream recognise a repetition."""
    return any(name.lower() == b"idempotency-key" for name, _ in headers)


def may_arrive_twice(method: bytes, headers: HeaderPairs) -> bool:
    """Tell whether a request may go again although the upstream may have acted on it."""
    return method in _IDEMPOTENT or has_idempotency_key(headers)


def is_kept(body: Any) -> bool:
    """Tell whether a request's body can be sent once more: there is none, it is in memory, or it can be rewound."""
    return body is None or isinstance(body, bytes) or getattr(body, "rewindable", False) is True


def creates_nothing(
    method: bytes, endpoint: str, document: dict[str, Any] | None, headers: HeaderPairs
) -> bool:
    """Tell whether a request that failed half-way leaves nothing behind: a read or an inference.

    `endpoint` is the exchange's, `document` the decoded JSON body where it
    could be read. With an `Idempotency-Key` any request counts as such. A
    Response that runs in the background or extends a conversation outlives
    its answer, and so does one whose body nobody could read, maybe.
    """
    if method in _SAFE or has_idempotency_key(headers):
        return True
    if method != b"POST":
        return False
    if endpoint not in _INFERENCES:
        return False
    if endpoint == "responses":
        return document is not None and not (document.get("background") or document.get("conversation"))
    return True
