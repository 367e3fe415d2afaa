"""Recognise the errors of an account that has no quota or no money left. Pure."""

from __future__ import annotations

import orjson

from ...exchange.record import HeaderPairs
from ...wire.body_headers import media_type_and_coding
from ...wire.codings import maybe_decoded

PEEK_BYTES = 64 * 1024
NO_QUOTA = "insufficient_quota"
SPENT = frozenset(
    (
        NO_QUOTA,
        "arrearage",  # Alibaba
        "billing_hard_limit_reached",  # OpenAI
        "billing_not_active",  # OpenAI
        "budget_exceeded",  # LiteLLM
        "creditserror",  # OpenCode
        "exceeded_current_quota_error",  # Moonshot
        "insufficient_balance",
        "insufficient_credits",
        "insufficient_user_quota",  # One API, New API
    )
)
"""What `error.code` or `error.type` is, in lower case, if the account has nothing left."""


def error_code(body: bytes, headers: HeaderPairs) -> str:
    """Return `error.code` (else `error.type`) of a JSON error, "" if it cannot be read.

    If either says, in the words of any provider, that the account has nothing
    left, it is NO_QUOTA. Of a compressed body, up to 64 KiB are read.
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
        spent = any(isinstance(word, str) and word.lower() in SPENT for word in words)
        code = NO_QUOTA if spent else words[0] or words[1]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return code if isinstance(code, str) else ""
