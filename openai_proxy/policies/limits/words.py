"""The message for a client above its limits: which limit, and when there is room again. Pure."""

from __future__ import annotations

from ..refusal_words import seconds
from .rules import Levels, Limits, Refusal


def limit_words(
    limits: Limits, levels: Levels, refusal: Refusal, reserved: float, group: str | None = None
) -> str:
    """Say which limit of a key, or of a group that it belongs to, is reached, and when there is room again."""
    whose = "" if group is None else f" for the group {group!r}"
    if refusal.kind == "requests":
        what = f"{limits.requests_per_minute} requests a minute are used up; the next one in"
        return f"Rate limit reached at openai-proxy{whose}: {what} {seconds(refusal.wait_s)}."
    if refusal.kind == "tokens":
        return (
            f"Rate limit reached at openai-proxy{whose}: of {limits.model_tokens_per_minute} model tokens a minute"
            f" {max(0, int(levels.model_tokens))} are left, and this request may need {reserved:.0f};"
            f" try again in {seconds(refusal.wait_s)}."
        )
    of = "this API key" if group is None else "it"
    return (
        f"Rate limit reached at openai-proxy{whose}: {limits.concurrent_requests} requests of {of} run at once,"
        f" which is the limit; try again in {seconds(refusal.wait_s)}, or when one has ended."
    )
