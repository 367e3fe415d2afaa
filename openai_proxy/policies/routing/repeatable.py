"""Decide which requests may reach an upstream twice, as far as the request itself says.

`rules` decides whether an answer or a failure calls for that. Pure.
"""

from __future__ import annotations

from typing import Any

from ...exchange.record import HeaderPairs

_SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS"))
"""Methods that change nothing (RFC 9110 §9.2.1)."""
_IDEMPOTENT = _SAFE | {b"PUT", b"DELETE"}
"""Methods with the same effect however often they come (RFC 9110 §9.2.2)."""

_INFERENCES = frozenset(
    (
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
        "chat/completions",
        "completions",
        "decisions",
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
    """Return whether the upstream can recognise a repetition by the client's key."""
    return any(name.lower() == b"idempotency-key" for name, _ in headers)


def may_arrive_twice(method: bytes, headers: HeaderPairs) -> bool:
    """Return whether a request may be sent again although the upstream may have acted on it."""
    return method in _IDEMPOTENT or has_idempotency_key(headers)


def is_kept(body: Any) -> bool:
    """Return whether a request's body can be sent again: there is none, it is in memory, or it can be rewound."""
    return body is None or isinstance(body, bytes) or getattr(body, "rewindable", False) is True


def creates_nothing(
    method: bytes, endpoint: str, document: dict[str, Any] | None, headers: HeaderPairs
) -> bool:
    """Return whether a request that fails half-way leaves nothing behind: a read or an inference.

    `endpoint` is the exchange's, `document` the decoded JSON body if it could
    be read. With an `Idempotency-Key` any request counts as such. A Response
    that runs in the background or extends a conversation outlives its answer;
    so may one whose body could not be read.
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
