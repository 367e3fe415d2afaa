"""The headers of a 429 in OpenAI's own notation. Pure."""

from __future__ import annotations

from math import ceil

from ...exchange.record import HeaderPairs
from .rules import CONCURRENCY_RETRY_S, Levels, Limits, Refusal


def format_duration(seconds: float) -> bytes:
    """Write a duration as OpenAI does: `6m0s`, `1h0m0s`, `12ms`, `1.5s`, `0s`.

    Rounded up: to milliseconds below a minute, to seconds above.
    """
    ms = ceil(round(seconds * 1000.0, 6))
    if ms <= 0:
        return b"0s"
    if ms < 1000:
        return b"%dms" % ms
    if ms < 60_000:
        return f"{ms / 1000:g}s".encode()
    minutes, rest_s = divmod(ceil(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return b"%dh%dm%ds" % (hours, minutes, rest_s) if hours else b"%dm%ds" % (minutes, rest_s)


def retry_after_headers(wait_s: float) -> HeaderPairs:
    """Return `retry-after` (whole seconds, at least 1) and `retry-after-ms`, both rounded up."""
    ms = max(1, ceil(round(wait_s * 1000.0, 6)))
    return [(b"retry-after", b"%d" % max(1, ceil(ms / 1000))), (b"retry-after-ms", b"%d" % ms)]


def _bucket_headers(name: bytes, limit: int, level: float) -> HeaderPairs:
    reset_s = (limit - level) * 60.0 / limit
    return [
        (b"x-ratelimit-limit-" + name, b"%d" % limit),
        (b"x-ratelimit-remaining-" + name, b"%d" % max(0, int(level + 1e-6))),
        (b"x-ratelimit-reset-" + name, format_duration(reset_s)),
    ]


def refusal_headers(limits: Limits, levels: Levels, refusal: Refusal) -> HeaderPairs:
    """Return the header lines of a 429; `x-ratelimit-*` of the limits that are on.

    The reset is the time when the bucket is full again. If concurrent requests
    are the only limit of requests, the `-requests` lines describe that limit.
    """
    headers = retry_after_headers(refusal.wait_s)
    if limits.requests_per_minute is not None:
        headers += _bucket_headers(b"requests", limits.requests_per_minute, levels.requests)
    elif limits.concurrent_requests is not None:
        remaining = max(0, limits.concurrent_requests - levels.running)
        reset_s = CONCURRENCY_RETRY_S if refusal.kind == "concurrent" else 0.0
        headers += [
            (b"x-ratelimit-limit-requests", b"%d" % limits.concurrent_requests),
            (b"x-ratelimit-remaining-requests", b"%d" % remaining),
            (b"x-ratelimit-reset-requests", format_duration(reset_s)),
        ]
    if limits.model_tokens_per_minute is not None:
        headers += _bucket_headers(b"tokens", limits.model_tokens_per_minute, levels.model_tokens)
    return headers
