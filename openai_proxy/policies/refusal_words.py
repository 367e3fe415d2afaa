"""Sentences for refused clients: the numbers that help, and what to do. Pure.

Programs use status, type and code; these sentences are for people. They must
not contain a key, a prompt or a body.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from ..wire.key_like import KEY_LIKE

_LONGEST_NAME = 100
_MOST_NAMED = 20


def seconds(value: float) -> str:
    """Write a wait: two digits below a tenth of a second, else one decimal, never 0."""
    return f"{max(value, 0.01):.2f} s" if value < 0.1 else f"{value:.1f} s"


def model_name(model: str) -> str:
    """Return a model's name as a message may repeat it: shortened, and redacted if it looks like a key."""
    text = KEY_LIKE.sub("[redacted]", model)
    text = "".join(char if char.isprintable() else "?" for char in text)
    return repr(text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 3] + "...")


def model_words(models: Sequence[str] | None, allowed: Sequence[str]) -> str:
    """Say which model a key may not use, and which ones it may; None means that the request's model could not be read."""
    listed = ", ".join(allowed[:_MOST_NAMED]) + (", ..." if len(allowed) > _MOST_NAMED else "")
    may = f"it may use: {listed}" if allowed else "it may use none"
    if models is None:
        return f"openai-proxy cannot read which model this request names, and this API key is bound to some: {may}."
    named = ", ".join(model_name(model) for model in models[:3])
    return f"openai-proxy does not let this API key use the model {named}; {may}."


def expiry_words(expired_at: float) -> str:
    """Say when a key expired."""
    moment = datetime.fromtimestamp(expired_at, timezone.utc)
    return f"This API key expired at {moment:%Y-%m-%dT%H:%MZ}; ask whoever runs openai-proxy for a new one."
