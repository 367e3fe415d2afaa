"""What follows from several settings at once."""

from __future__ import annotations

from .model import Settings


def base_urls(settings: Settings) -> list[str]:
    """Return the base URL of each upstream, the lowest priority number first."""
    ordered = sorted(settings.upstreams, key=lambda entry: entry.priority)
    return [entry.base_url for entry in ordered] or [settings.upstream.base_url]


def redis_url(settings: Settings) -> str | None:
    """Return the Redis that limits and health look at."""
    url = settings.rate_limit.url or settings.cache.url
    text = url.get_secret_value() if url is not None else None
    return text if text is not None and text.startswith("redis") else None
