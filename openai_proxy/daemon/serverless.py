"""The upstreams that are no servers: from settings to what answers in their place."""

from __future__ import annotations

from collections.abc import Iterator

from ..exchange.buffered_bytes import BufferedBytes
from ..exchange.messages import Forward
from ..policies.usage.estimate import prompt_tokens
from ..settings import Settings, mode
from ..settings.derived import all_serverless
from ..settings.urls import is_serverless
from ..upstream.answer_timer import UpstreamTimeouts
from ..upstream.mock.forward import MockForward
from ..wire.mock_url import parse_mock
from .destinations import DEFAULT
from .surroundings import Surroundings


def serverless(
    settings: Settings, around: Surroundings, timeouts: UpstreamTimeouts, buffered: BufferedBytes
) -> dict[str, Forward]:
    """Return what answers in the place of each upstream that is no server, by the upstreams' names."""
    return {
        name: MockForward(
            name,
            parse_mock(url),
            timeouts,
            around.mock_memory,
            buffered,
            prompt_tokens,
            around.reactor,
            around.clock,
        )
        for name, url in _urls(settings)
    }


def _urls(settings: Settings) -> Iterator[tuple[str, str]]:
    upstreams = [(entry.name, entry.base_url) for entry in settings.upstreams]
    for name, url in upstreams or [(DEFAULT, settings.upstream.base_url)]:
        if is_serverless(url):
            yield name, url


def risk_of(settings: Settings) -> str | None:
    """Return what anybody can do who reaches an open port; None if callers must show a key."""
    if mode(settings) == "tenants":
        return None
    if all_serverless(settings):
        return "call the upstream, which asks nobody for a key"
    return "spend the upstream key" if mode(settings) == "inject" else None
