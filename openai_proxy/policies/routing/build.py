"""Routing: from settings to the table of upstreams and the stages. The upstreams' keys are in
`upstream_keys`."""

from __future__ import annotations

import time

from ...exchange.messages import Stage
from ...settings import Settings, mode
from ...settings.derived import redis_url
from ..authenticate.upstream_keys import kept_keys, key_of
from ..parts import Parts
from .affinity import Affinity
from .health import UpstreamHealth
from .prober import Prober
from .retry import Retry
from .route import Route
from .table import ModelRoute, RoutingTable, Upstream
from .turn_elsewhere import RefuseElsewhere


def routing_table(settings: Settings) -> RoutingTable | None:
    """Return the upstreams and the models' routes; None if one upstream serves all models under their own names."""
    auth_header = settings.upstream.auth_header.lower().encode("ascii")
    routed = any(model.upstream_model is not None for model in settings.models)
    # in pass-through mode they are credentials, as Authorization is; else they identify the caller, and may go to any upstream
    client_headers = tuple(
        name.encode("ascii") for name in settings.auth.caller_headers if mode(settings) == "pass-through"
    )
    upstreams = [
        Upstream(
            entry.name,
            entry.base_url,
            key_of(settings, entry),
            kept_keys(settings, entry),
            auth_header,
            entry.weight,
            entry.priority,
            client_headers,
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


def refuse_elsewhere(
    settings: Settings, table: RoutingTable | None, route: Route | None
) -> RefuseElsewhere | None:
    """Return the stage that keeps a WebSocket's turns at its upstream; None if no turn could belong to
    another."""
    affinity = None if route is None else route.affinity
    if table is None or (affinity is None and all(model.upstream is None for model in settings.models)):
        return None
    return RefuseElsewhere(table, affinity)


def with_configured_keys(settings: Settings, table: RoutingTable | None) -> list[str]:
    """Return the names of the upstreams that receive a configured key, whoever the caller is."""
    replaced = mode(settings) != "pass-through"
    if table is None:
        return ["default"] if replaced else []
    return [each.name for each in table.upstreams if each.key or (each.key is None and replaced)]


def route(
    settings: Settings,
    parts: Parts,
    table: RoutingTable | None,
    health: UpstreamHealth | None,
    prober: Prober | None,
) -> Route | None:
    """Return the stage that chooses an upstream, None if one upstream serves all models under their own names."""
    if table is None or health is None or prober is None:
        return None
    routing = settings.routing
    affinity = None
    several = len(table.upstreams) > 1
    if several and routing.stick != "off":
        homes = parts.stores.state_homes(routing.state_entries, routing.state_ttl_s, redis_url(settings))
        affinity = Affinity(table, homes)
    return Route(
        table,
        health,
        probe=prober.watch,
        clock=parts.clock,
        wall_clock=time.time,
        timers=parts.reactor,
        affinity=affinity,
        sessions=several and routing.stick == "cache",
        session_header=routing.session_header.encode("ascii") if routing.session_header else None,
        least_busy=routing.balance == "least_busy",
    )


def retry(settings: Settings, parts: Parts) -> Stage:
    """Return the stage of further attempts; one part of it is active whatever the settings are."""
    return Retry(settings.retry.max_retries, timers=parts.reactor, clock=parts.clock, wall_clock=time.time)
