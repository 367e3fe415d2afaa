"""Where requests go: upstreams, their keys, and how one is chosen."""

from __future__ import annotations

import time

from pydantic import SecretStr

from ..core.routing import ModelRoute, RoutingTable, Upstream
from ..core.upstream_health import UpstreamHealth
from ..settings import Settings, client_keys, mode
from ..settings.tables import UpstreamEntry
from ..stages.route import Route
from ..upstream.origin import parse_origin
from ..upstream.prober import Prober
from .surroundings import Surroundings


def secret_bytes(secret: SecretStr) -> bytes:
    """Return a key as it goes into a header line."""
    return secret.get_secret_value().encode("latin-1")


def base_urls(settings: Settings) -> list[str]:
    """Return the base URL of each upstream, the lowest priority number first."""
    ordered = sorted(settings.upstreams, key=lambda entry: entry.priority)
    return [entry.base_url for entry in ordered] or [settings.upstream.base_url]


def routing_table(settings: Settings) -> RoutingTable | None:
    """Return the upstreams and the models' places; None where one upstream serves all as named."""
    auth_header = settings.upstream.auth_header.lower().encode("ascii")
    routed = any(model.upstream_model is not None for model in settings.models)
    upstreams = [
        Upstream(
            entry.name,
            entry.base_url,
            _place_key(settings, entry),
            _kept_keys(settings, entry),
            auth_header,
            entry.weight,
            entry.priority,
        )
        for entry in settings.upstreams
    ]
    if not upstreams and routed:
        upstreams = [Upstream("default", settings.upstream.base_url)]
    if not upstreams:
        return None
    return RoutingTable(
        upstreams, [ModelRoute(m.match, m.upstream, m.upstream_model) for m in settings.models]
    )


def _place_key(settings: Settings, entry: UpstreamEntry) -> bytes | None:
    """Return the key of one of several upstreams.

    None leaves what authentication put there (the tenant's key, the
    client's own); b"" takes it away: with no key for it, an upstream must
    not see another one's.
    """
    if entry.api_key is not None:
        return secret_bytes(entry.api_key)
    if mode(settings) != "inject":
        return None
    default = settings.upstream.api_key
    return secret_bytes(default) if default is not None else b""


def _kept_keys(settings: Settings, entry: UpstreamEntry) -> frozenset[bytes]:
    """Return the keys of single tenants that go to `entry` before its own key.

    They were made for the origin of `upstream.base_url`; another origin that
    has a key of its own must not see them.
    """
    if entry.api_key is None or parse_origin(entry.base_url) != parse_origin(settings.upstream.base_url):
        return frozenset()
    return frozenset(secret_bytes(key.upstream_key) for key in client_keys(settings) if key.upstream_key)


def route(
    settings: Settings,
    around: Surroundings,
    table: RoutingTable | None,
    health: UpstreamHealth | None,
    prober: Prober | None,
) -> Route | None:
    """Return the stage that chooses an upstream, None where there is one that serves all models as named."""
    if table is None or health is None or prober is None:
        return None
    return Route(
        table,
        health,
        probe=prober.watch,
        clock=around.clock,
        wall_clock=time.time,
        failover_on_status=settings.retry.max_retries > 0,
    )
