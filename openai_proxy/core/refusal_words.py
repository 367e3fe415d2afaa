"""What a refused client is told: the numbers that help, and what to do. Pure.

Status, type and code are what programs use; these sentences are for people.
No key, prompt or body may get into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from .budget import Account, Need, Standing
from .key_like import KEY_LIKE
from .limits import Limits, Refusal
from .limits import Standing as Levels

_LONGEST_NAME = 100
_MOST_NAMED = 20


def seconds(value: float) -> str:
    """Write a wait: two digits below a tenth of a second, else one behind the point, never 0."""
    return f"{max(value, 0.01):.2f} s" if value < 0.1 else f"{value:.1f} s"


def dollars(value: float) -> str:
    """Write an amount with two to six digits behind the point.

    >>> dollars(0.0145), dollars(20)
    ('$0.0145', '$20.00')
    """
    text = f"{value:.6f}".rstrip("0")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents:0<2}"


def model_name(model: str) -> str:
    """Return a model as a message may repeat it: short, and no key that was given in its place."""
    text = KEY_LIKE.sub("[redacted]", model)
    text = "".join(char if char.isprintable() else "?" for char in text)
    return repr(text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 3] + "...")


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


def budget_words(account: Account, need: Need, standing: Standing) -> str:
    """Say what a request may cost, what is left of the budget, and when it starts anew."""
    left_usd = max(0.0, need.limit_usd - standing.spent_usd - standing.held_usd)
    return (
        f"The budget of this API key at openai-proxy is used up: this request may cost {dollars(need.usd)}, of"
        f" {dollars(need.limit_usd)} for {account.period} {dollars(left_usd)} are left; it starts anew at"
        f" {period_end(account.period)}."
    )


def period_end(period: str) -> str:
    """Return when a period of a budget ends, in UTC.

    >>> period_end("2026-12"), period_end("2026-02-28")
    ('2027-01-01T00:00Z', '2026-03-01T00:00Z')
    """
    day = len(period) == len("2026-11-21")
    start = datetime.strptime(period, "%Y-%m-%d" if day else "%Y-%m").replace(tzinfo=timezone.utc)
    end = start + timedelta(days=1) if day else (start + timedelta(days=31)).replace(day=1)
    return f"{end:%Y-%m-%dT%H:%MZ}"


def model_words(models: Sequence[str] | None, allowed: Sequence[str]) -> str:
    """Say which model a key may not use, and which ones it may; None: the request's could not be read."""
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
