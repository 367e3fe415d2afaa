"""The parts that handle exchanges under one configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred, succeed

from ..cost.build import Spending, build_spending
from ..cost.unpriced import unpriced_models
from ..downstream.contract import DownstreamLimits, TurnRules
from ..exchange.messages import Forward
from ..net.dns_cache import DNSCache
from ..net.origin import Origin
from ..observe.refused_keys import RefusedKeys
from ..policies.authenticate import build as callers
from ..policies.authenticate.keyring import Keyring
from ..policies.authenticate.without_credentials import WithoutCredentials
from ..policies.bodies import build as bodies
from ..policies.chains import by_kind, compose
from ..policies.routing import build as routing
from ..policies.routing.health import UpstreamHealth
from ..policies.routing.prober import Prober
from ..policies.routing.route import Route
from ..settings import Settings, SettingsError, mode, warnings
from ..settings.derived import base_urls, redis_url
from ..upstream.agent import UpstreamAgent
from ..upstream.answer_timer import UpstreamTimeouts
from ..upstream.client import UpstreamClient
from ..upstream.forward import Destination, UpstreamForward
from ..upstream.forward_by_name import ForwardByName
from ..upstream.reachability import Reachability
from ..upstream.tls import ClientTLS
from ..upstream.warm import WarmConnections
from ..wire.web_origins import WebOrigins
from .destinations import DEFAULT, known_destinations
from .expired_certificates import expired_certificates
from .observers import configured_models
from .process_parts import ProcessParts
from .serverless import Serverless, risk_of
from .stages import KeptStages, kept_stages, ordered_stages


@frozen(eq=False)
class Exchanger:
    """Everything that handles exchanges under one configuration; replaced as a whole."""

    settings: Settings
    forward: Forward
    preflight: Forward
    """Forwards a browser's preflight to an upstream, without credentials."""
    web_origins: WebOrigins
    agent: UpstreamAgent
    reachability: Reachability
    refused_keys: RefusedKeys
    origins: Mapping[str, Origin]
    """The origins of the upstreams that are servers, by name."""
    serverless: Serverless
    """The upstreams that are no servers."""
    limits: DownstreamLimits
    turns: TurnRules
    """The rules for the turns of WebSockets."""
    mode: str
    risk: str | None
    """What any client that reaches a port can do; None if nothing."""
    redis_url: str | None = field(repr=False)
    """It may hold a password."""
    route: Route | None
    """Routes among several upstreams; None if there is only one."""
    prober: Prober | None
    """Probes upstreams that are out; None if there is only one."""
    spending: Spending
    """Prices and budgets."""
    configured_models: frozenset[str]
    """The models that the configuration names."""
    kept: KeptStages
    """The stages that stay when only client keys change."""
    keyring: Keyring | None
    """The client keys; None in modes other than tenants."""
    warnings: tuple[str, ...]
    """A line for each probable mistake in the settings."""

    def start(self) -> None:
        """Begin to serve; call once."""
        self.agent.start()

    def stop(self) -> None:
        """Start nothing more; running exchanges continue."""
        if self.prober is not None:
            self.prober.stop()
        self.agent.stop()

    def abort(self) -> None:
        """Abort running exchanges."""
        self.stop()
        self.agent.abort()


def build_exchanger(settings: Settings, parts: ProcessParts, needs_usage: bool) -> Exchanger:
    """Build the parts for `settings`; raise SettingsError for settings that cannot work.

    `needs_usage`: an observer needs the usage of streams.
    """
    upstream = settings.upstream
    timeouts = UpstreamTimeouts(
        connect=settings.timeout_s.connect,
        first_byte=settings.timeout_s.first_byte,
        idle=settings.timeout_s.idle,
        total=settings.timeout_s.total,
    )
    tls = ClientTLS(Path(upstream.ca_file) if upstream.ca_file else None)
    names = DNSCache(upstream.dns_ttl_s, parts.clock)
    agent = UpstreamAgent(parts.reactor, timeouts, tls, parts.clock, parts.adopt, names=names)
    buffered = bodies.buffered_bytes(settings)
    default, destinations = known_destinations(settings)
    _load_certificates(tls, destinations)
    servers = _servers(agent, default, destinations, parts)
    made = Serverless(settings, parts, timeouts, buffered, servers)
    origins = {
        name: origin for name, origin in _origins(settings, destinations).items() if name not in made.forwards
    }
    agent.warm = WarmConnections(upstream.warm_connections, dict.fromkeys(origins.values()))
    probes: dict[str, Callable[[], Deferred[None]]] = dict.fromkeys(made.forwards, lambda: succeed(None))
    probes |= {name: partial(agent.probe, origin) for name, origin in origins.items()}
    table = routing.routing_table(settings)
    health = UpstreamHealth(table.upstreams, parts.circuits.changed) if table is not None else None
    prober = None
    if health is not None:
        parts.share_health(health)
        prober = Prober(
            health,
            lambda upstream: probes[upstream.name](),
            timers=parts.reactor,
            clock=parts.clock,
        )
    route = routing.route(settings, parts, table, health, prober)
    innermost = (
        servers
        if servers is not None and not made.forwards
        else ForwardByName(made.forwards, servers, DEFAULT)
    )
    spending = build_spending(settings, parts.stores, table, redis_url(settings), buffered)
    kept = kept_stages(settings, parts, table, route, buffered, innermost)
    anonymous = WithoutCredentials(
        [upstream.auth_header.lower().encode("ascii"), *callers.caller_headers(settings)]
    )
    keyring = callers.make_keyring(settings)
    stages, turns = ordered_stages(settings, parts, needs_usage, spending, kept, keyring)
    return Exchanger(
        settings=settings,
        forward=by_kind(stages, innermost),
        preflight=compose([*([route] if route is not None else []), anonymous], innermost),
        web_origins=callers.web_origins(settings),
        route=route,
        prober=prober,
        agent=agent,
        reachability=_reachability(settings, probes, parts),
        refused_keys=RefusedKeys(routing.with_configured_keys(settings, table)),
        origins=origins,
        serverless=made,
        limits=_downstream_limits(settings),
        turns=turns,
        mode=mode(settings),
        risk=risk_of(settings),
        redis_url=redis_url(settings),
        spending=spending,
        configured_models=configured_models(settings),
        kept=kept,
        keyring=keyring,
        warnings=(
            *warnings(settings),
            *made.warnings,
            *unpriced_models(settings, spending.pricing),
            *expired_certificates(settings),
        ),
    )


def with_other_keys(
    exchanger: Exchanger, settings: Settings, parts: ProcessParts, needs_usage: bool
) -> Exchanger:
    """Return an exchanger for settings that differ only in the stored client keys.

    It shares the connections and the health of upstreams with the old one, so
    only one of the two may be stopped. Raises SettingsError as
    `build_exchanger` does.
    """
    kept = exchanger.kept
    spending = build_spending(
        settings, parts.stores, kept.table, redis_url(settings), kept.buffered, exchanger.spending.pricing
    )
    keyring = callers.make_keyring(settings)
    stages, turns = ordered_stages(settings, parts, needs_usage, spending, kept, keyring)
    return evolve(
        exchanger,
        settings=settings,
        forward=by_kind(stages, kept.innermost),
        turns=turns,
        spending=spending,
        keyring=keyring,
    )


def _load_certificates(tls: ClientTLS, destinations: Mapping[str, Destination]) -> None:
    for to in destinations.values():
        certificate = to.origin.certificate
        if certificate is not None:
            try:
                tls.load(certificate)
            except ValueError as error:
                raise SettingsError(f"client_cert: {certificate.file}: {error}") from None


def _servers(
    agent: UpstreamAgent,
    default: Destination | None,
    destinations: Mapping[str, Destination],
    parts: ProcessParts,
) -> Forward | None:
    """Return a forward that sends requests to upstreams that are servers; None if none is."""
    if default is None:  # no request without a route is sent there
        default = next(iter(destinations.values()), None)
    if default is None:
        return None
    return UpstreamForward(UpstreamClient(agent), default, destinations, parts.clock)


def _names(settings: Settings) -> list[str]:
    """Return the names of the upstreams, the lowest priority number first."""
    ordered = sorted(settings.upstreams, key=lambda entry: entry.priority)
    return [entry.name for entry in ordered] or [DEFAULT]


def _origins(settings: Settings, destinations: Mapping[str, Destination]) -> dict[str, Origin]:
    """Return the origins of the upstreams that are servers, by name, the lowest priority number first."""
    return {name: destinations[name].origin for name in _names(settings) if name in destinations}


def _reachability(
    settings: Settings, probes: Mapping[str, Callable[[], Deferred[None]]], parts: ProcessParts
) -> Reachability:
    url = base_urls(settings)[0]
    return Reachability(url, [probes[name] for name in _names(settings)], parts.clock)


def _downstream_limits(settings: Settings) -> DownstreamLimits:
    limits = settings.limits
    return DownstreamLimits(
        target_bytes=limits.target_bytes,
        header_bytes=limits.header_bytes,
        header_count=limits.header_count,
        body_bytes=limits.body_bytes,
        header_timeout_s=limits.header_timeout_s,
        body_min_bytes_per_s=limits.body_min_bytes_per_s,
        keep_alive_s=limits.keep_alive_s,
        write_stall_s=limits.write_stall_s,
        keepalive_s=settings.keepalive_s,
        keepalive_before_head=settings.keepalive_before_head,
    )
