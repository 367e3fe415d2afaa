"""From Settings to the parts that handle exchanges: the ordered stage list.

Builds values and objects only; opens nothing. The service starts and stops
what is built here, and builds anew for a reload.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen
from pydantic import SecretStr

from .core.cache_rules import CacheRule, CacheRules, TimesToLive, default_rules
from .core.keyring import ClientKey, Keyring
from .core.limits import Limits
from .core.llm_params import ModelParams, from_table, from_text
from .core.routing import ModelRoute, RoutingTable, Upstream
from .core.think import ThinkRule
from .core.token_estimate import TokenEstimate
from .core.upstream_health import UpstreamHealth
from .cost.build import Spending, build_spending
from .messages import Forward, Stage
from .settings import Settings, client_keys, mode
from .settings.model import Think
from .settings.tables import KeyLimits, ThinkEntry, UpstreamEntry
from .stages.allow_models import AllowModels
from .stages.cache import Cache
from .stages.inject import Inject
from .stages.list_aliases import ListAliases
from .stages.override import Override
from .stages.pass_through import PassThrough
from .stages.rate_limit import RateLimit
from .stages.read_body import ReadBody
from .stages.read_usage import ReadUsage
from .stages.retry import Retry
from .stages.route import Route
from .stages.strip_think import StripThink
from .stages.tenants import Tenants
from .stores import Stores
from .upstream.agent import UpstreamAgent
from .upstream.client import UpstreamClient
from .upstream.connection import UpstreamTimeouts
from .upstream.forward import UpstreamForward, destination
from .upstream.health import Reachability
from .upstream.origin import parse_origin
from .upstream.prober import Prober
from .upstream.tls import ClientTLS
from .web.request_reader import DownstreamLimits

Clock = Callable[[], float]


@frozen(eq=False)
class Surroundings:
    """What the service lends to whatever is built."""

    reactor: Any
    clock: Clock
    """Monotonic seconds."""
    stores: Stores
    adopt: Callable[[Any], None] = lambda transport: None
    """Given each connected transport; see `socket_group`."""


@frozen(eq=False)
class Exchanger:
    """Everything that handles exchanges under one configuration; swapped whole."""

    settings: Settings
    forward: Forward
    agent: UpstreamAgent
    reachability: Reachability
    limits: DownstreamLimits
    mode: str
    redis_url: str | None
    route: Route | None
    """Several upstreams and their state; None where there is one."""
    prober: Prober | None
    """Looks after those that are out; None where there is one."""
    spending: Spending
    """Prices, budgets and where they are kept."""

    def start(self) -> None:
        """Begin to serve; once."""
        self.agent.start()

    def stop(self) -> None:
        """Begin nothing more; what runs goes on."""
        if self.prober is not None:
            self.prober.stop()
        self.agent.stop()

    def abort(self) -> None:
        """Cut what runs."""
        self.stop()
        self.agent.abort()


def compose(stages: Sequence[Stage], innermost: Forward) -> Forward:
    """Wrap `innermost` into `stages`, the first being the outermost."""
    forward = innermost
    for stage in reversed(stages):
        forward = partial(stage, forward=forward)
    return forward


def build_exchanger(settings: Settings, around: Surroundings, needs_usage: bool) -> Exchanger:
    """Build the parts for `settings`; raises SettingsError for what can not be built.

    `needs_usage`: an observer wants streams to report their usage.
    """
    upstream = settings.upstream
    timeouts = UpstreamTimeouts(
        connect=settings.timeout_s.connect,
        first_byte=settings.timeout_s.first_byte,
        idle=settings.timeout_s.idle,
        total=settings.timeout_s.total,
    )
    tls = ClientTLS(Path(upstream.ca_file) if upstream.ca_file else None)
    agent = UpstreamAgent(around.reactor, timeouts, tls, around.clock, around.adopt)
    table = _routing_table(settings)
    health = UpstreamHealth(table.upstreams) if table is not None else None
    prober = None
    if health is not None:
        prober = Prober(health, agent.probe, timers=around.reactor, clock=around.clock)
    route = _route(settings, around, table, health, prober)
    places = {
        place.name: destination(place.name, place.base_url) for place in (table.upstreams if table else ())
    }
    default = destination("default", upstream.base_url)
    innermost = UpstreamForward(
        UpstreamClient(agent), default, places, upstream.via.encode("ascii"), around.clock
    )
    spending = build_spending(settings, around.stores, table, _redis_url(settings))
    stages = _stages(settings, around, needs_usage, table, route, spending)
    return Exchanger(
        settings=settings,
        forward=compose(stages, innermost),
        route=route,
        prober=prober,
        agent=agent,
        reachability=Reachability(_base_urls(settings), agent.probe, around.clock),
        limits=_limits(settings),
        mode=mode(settings),
        redis_url=_redis_url(settings),
        spending=spending,
    )


def _stages(
    settings: Settings,
    around: Surroundings,
    needs_usage: bool,
    table: RoutingTable | None,
    route: Route | None,
    spending: Spending,
) -> list[Stage]:
    """Return the onion, outermost first, with the reason for each place."""
    keyring = _keyring(settings)
    strip_think = _strip_think(settings)
    stages: list[Stage | None] = [
        # First: nobody unknown makes us read, count or call anything.
        _authenticate(settings, keyring),
        # Before everything that looks at the body; behind it a request is known to be valid.
        ReadBody(settings.limits.json_body_bytes),
        # Before the limits: a refusal counts against none.
        AllowModels(keyring) if keyring is not None else None,
        # Outside all that costs anything.
        _rate_limit(settings, around, keyring),
        # Before the cache: its key is what the upstream would see.
        _override(settings),
        # Outside the cache, which holds raw upstream bytes, so that this setting may change.
        strip_think,
        # Inside think removal, for it reads what the model wrote; outside the cache, whose hits report too.
        ReadUsage(
            needs_usage or spending.needs_usage or _counts_model_tokens(settings),
            around.clock,
            strip_think.reads if strip_think is not None else None,
        ),
        # Outside the cache, which holds what the upstream lists.
        ListAliases(table.aliases) if table is not None and table.aliases else None,
        # Outside retries: a hit never retries.
        _cache(settings, around),
        # Behind the cache, whose hits cost nothing; outside retries, of which one answer is paid.
        spending.keep_budget,
        # The same request, once more.
        _retry(settings, around),
        # Innermost: every attempt may go elsewhere.
        route,
    ]
    return [stage for stage in stages if stage is not None]


# ---- who calls


def _bytes(secret: SecretStr) -> bytes:
    return secret.get_secret_value().encode("latin-1")


def _authenticate(settings: Settings, keyring: Keyring | None) -> Stage:
    auth_header = settings.upstream.auth_header.lower().encode("ascii")
    if keyring is not None:
        return Tenants(keyring, auth_header)
    if mode(settings) == "pass-through":
        return PassThrough()
    # With several upstreams each may have its own key, put in by the routing.
    keys = [settings.upstream.api_key, *(entry.api_key for entry in settings.upstreams)]
    api_key = next(key for key in keys if key is not None)
    return Inject(_bytes(api_key), auth_header)


def _keyring(settings: Settings) -> Keyring | None:
    default = settings.upstream.api_key
    entries = []
    for key in client_keys(settings):
        upstream_key = key.upstream_key or default
        if upstream_key is None and not _every_upstream_has_a_key(settings):
            raise settings.error("client_api_keys", f"{key.name} has no upstream key")
        entries.append(
            ClientKey(
                name=key.name,
                digest=key.sha256,
                upstream_key=_bytes(upstream_key) if upstream_key is not None else b"",
                models=key.models,
                expires_at=key.expires.timestamp() if key.expires else None,
                limits=_key_limits(key.limits),
            )
        )
    return Keyring(entries) if entries else None


def _every_upstream_has_a_key(settings: Settings) -> bool:
    return bool(settings.upstreams) and all(entry.api_key for entry in settings.upstreams)


# ---- what they may use


def _key_limits(limits: KeyLimits) -> Limits:
    return Limits(limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent_requests)


def _rate_limit(settings: Settings, around: Surroundings, keyring: Keyring | None) -> Stage | None:
    rate_limit = settings.rate_limit
    everybody = Limits(
        rate_limit.requests_per_minute, rate_limit.tokens_per_minute, rate_limit.concurrent_requests
    )
    own = {key.name: _key_limits(key.limits).over(everybody) for key in client_keys(settings) if key.limits}
    if not everybody and not any(own.values()):
        return None
    return RateLimit(
        around.stores.limit_store(_redis_url(settings)),
        everybody,
        own,
        timers=around.reactor,
        clock=around.clock,
        max_wait_s=rate_limit.max_wait_s,
        # reserves in front of the overrides, but for what they make of a request
        estimate=TokenEstimate(_model_params(settings)),
    )


def _counts_model_tokens(settings: Settings) -> bool:
    own = [key.limits.tokens_per_minute for key in settings.keys]
    return any(limit is not None for limit in (settings.rate_limit.tokens_per_minute, *own))


def _redis_url(settings: Settings) -> str | None:
    """Return the Redis that limits and health look at."""
    url = settings.rate_limit.url or settings.cache.url
    text = url.get_secret_value() if url is not None else None
    return text if text is not None and text.startswith("redis") else None


# ---- what becomes of their requests


def _override(settings: Settings) -> Stage | None:
    rules = _model_params(settings)
    return Override(rules) if rules else None


def _model_params(settings: Settings) -> list[ModelParams]:
    rules: list[ModelParams] = []
    for number, model in enumerate(settings.models):
        if model.params or model.default_params:
            try:
                rules.append(from_table(model.match, model.params, model.default_params))
            except ValueError as error:
                raise settings.error(f"models.{number}.params", str(error)) from None
    if settings.llm_params:
        try:
            rules += from_text(settings.llm_params)  # last, so that the variable wins over the file
        except ValueError as error:
            raise settings.error("llm_params", str(error)) from None
    return rules


def _strip_think(settings: Settings) -> StripThink | None:
    everywhere = settings.think
    models = [(m.match, _think_rule(everywhere, m.think)) for m in settings.models if m.think is not None]
    rule = _think_rule(everywhere, None)
    if not rule.active and not any(own.active for _, own in models):
        return None
    return StripThink(rule, models)


def _think_rule(everywhere: Think, own: ThinkEntry | None) -> ThinkRule:
    def value(name: str) -> Any:
        mine = getattr(own, name, None)
        return getattr(everywhere, name) if mine is None else mine

    return ThinkRule(value("mode"), value("start_tag"), value("end_tag"), value("trim"))


def _cache(settings: Settings, around: Surroundings) -> Stage | None:
    cache = settings.cache
    if cache.url is None:
        return None
    times = TimesToLive(cache.ttl_s.embeddings, cache.ttl_s.completions, cache.ttl_s.models)
    rules = [
        CacheRule(
            rule.endpoint,
            times.of(rule.endpoint) if rule.ttl_s is None else rule.ttl_s,
            rule.model,
            rule.condition,
        )
        for rule in cache.rules
    ]
    return Cache(
        around.stores.cache_store(cache.url.get_secret_value(), cache.max_bytes),
        CacheRules((*rules, *default_rules(times))),
        " ".join(_base_urls(settings)).encode("ascii"),
        around.clock,
        shared=cache.shared,
    )


def _retry(settings: Settings, around: Surroundings) -> Stage | None:
    if settings.retry.max_retries == 0:
        return None
    return Retry(settings.retry.max_retries, timers=around.reactor, clock=around.clock, wall_clock=time.time)


# ---- where they go


def _base_urls(settings: Settings) -> list[str]:
    ordered = sorted(settings.upstreams, key=lambda entry: entry.priority)
    return [entry.base_url for entry in ordered] or [settings.upstream.base_url]


def _routing_table(settings: Settings) -> RoutingTable | None:
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
        return _bytes(entry.api_key)
    if mode(settings) != "inject":
        return None
    default = settings.upstream.api_key
    return _bytes(default) if default is not None else b""


def _kept_keys(settings: Settings, entry: UpstreamEntry) -> frozenset[bytes]:
    """Return the keys of single tenants that go to `entry` before its own key.

    They were made for the origin of `upstream.base_url`; another origin that
    has a key of its own must not see them.
    """
    if entry.api_key is None or parse_origin(entry.base_url) != parse_origin(settings.upstream.base_url):
        return frozenset()
    return frozenset(_bytes(key.upstream_key) for key in client_keys(settings) if key.upstream_key)


def _route(
    settings: Settings,
    around: Surroundings,
    table: RoutingTable | None,
    health: UpstreamHealth | None,
    prober: Prober | None,
) -> Route | None:
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


def _limits(settings: Settings) -> DownstreamLimits:
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
    )
