"""Distinguish upstreams that are servers from those that this process imitates."""

from __future__ import annotations

from .model import Settings
from .urls import is_replay, is_serverless


def called_url(settings: Settings, base_url: str) -> str:
    """Return the URL that requests for an upstream may be sent to: for a replay, the one for misses."""
    if is_replay(base_url) and settings.replay.miss != "error" and settings.replay.live_url is not None:
        return settings.replay.live_url
    return base_url


def calls_a_server(settings: Settings, base_url: str) -> bool:
    """Return whether requests for this upstream may leave this process."""
    return not is_serverless(called_url(settings, base_url))
