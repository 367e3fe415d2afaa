"""What a client over its limits is told: which limit, and when there is room again. Pure."""

from __future__ import annotations

from ..refusal_words import seconds
from .rules import Levels, Limits, Refusal


def limit_words(limits: Limits, levels: Levels, refusal: Refusal, reserved: float) -> str:
    """Say which limit of a key is reached, and when there is room again."""
    if refusal.kind == "requests":
        what = f"{limits.requests_per_minute} requests a minute are used up; the next one in"
        return f"Rate limit reached at openai-proxy: {what} {seconds(refusal.wait_s)}."
    if refusal.kind == "tokens":
        return (
            f"Rate limit reached at openai-proxy: of {limits.model_tokens_per_minute} model tokens a minute"
            f" {max(0, int(levels.model_tokens))} are left, and this request may need {reserved:.0f};"
            f" try again in {seconds(refusal.wait_s)}."
        )
    return (
        f"Rate limit reached at openai-proxy: {limits.concurrent_requests} requests of this API key run at once,"
        f" which is the limit; try again in {seconds(refusal.wait_s)}, or when one has ended."
    )
