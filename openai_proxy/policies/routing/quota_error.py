"""Recognise the errors of an account that has no quota or no money left. Pure."""

from __future__ import annotations

import re

from ...exchange.record import HeaderPairs
from .error_answer import error_document

NO_QUOTA = "insufficient_quota"
SPENT = frozenset(
    (
        NO_QUOTA,
        "1113",  # Zhipu
        "accountoverdueerror",  # Volcengine
        "arrearage",  # Alibaba
        "billing_hard_limit_reached",  # OpenAI
        "billing_not_active",  # OpenAI
        "budget_exceeded",  # LiteLLM
        "creditserror",  # OpenCode
        "exceeded_current_quota_error",  # Moonshot
        "insufficient_balance",
        "insufficient_balance_error",  # MiniMax
        "insufficient_credits",
        "insufficient_user_quota",  # One API, New API
    )
)
"""What `error.code` or `error.type` is, in lower case, if the account has nothing left."""

_AFFORDED = re.compile(
    r"fewer max_tokens.{0,200}can only afford [1-9]|prompt tokens limit exceeded: \d+ > [1-9]", re.S
)
"""OpenRouter's 402 for a request that may cost more than is left, while cheaper ones pass."""
_LONGEST_MESSAGE = 1000


def error_code(body: bytes, headers: HeaderPairs) -> str:
    """Return `error.code` (else `error.type`) of a JSON error, "" if it cannot be read.

    If either says, in the words of any provider, that the account has nothing
    left, it is NO_QUOTA.
    """
    error = error_document(body, headers).get("error")
    if not isinstance(error, dict):
        return ""
    words = error.get("code"), error.get("type")
    if any(isinstance(word, str) and word.lower() in SPENT for word in words):
        return NO_QUOTA
    code = words[0] or words[1]
    return code if isinstance(code, str) else ""


def says_too_dear(body: bytes, headers: HeaderPairs) -> bool:
    """Return whether a 402 refuses one request for its size, so that the account still serves smaller ones."""
    error = error_document(body, headers).get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return isinstance(message, str) and _AFFORDED.search(message[:_LONGEST_MESSAGE].lower()) is not None
