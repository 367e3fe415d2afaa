"""Who may call, and how much: from settings to the stages that decide it."""

from __future__ import annotations

from collections.abc import Container

from ..core.buffered_bytes import BufferedBytes
from ..core.caller import Callers
from ..core.errors import MissingCredentials, MissingCredentialsOfLocalServer
from ..core.keyring import ClientKey, Keyring
from ..core.limits import Limits
from ..core.organization import Account
from ..core.token_estimate import TokenEstimate
from ..core.web_origins import ANY, WebOrigins, normal_origin
from ..messages import Stage
from ..settings import Settings, client_keys, mode
from ..settings.tables import KeyLimits
from ..settings.tenants import own_key
from ..stages.inject import Inject
from ..stages.pass_through import PassThrough
from ..stages.rate_limit import RateLimit
from ..stages.read_body import BodyRules, ReadBody
from ..stages.tenants import Tenants
from ..turns import Turns
from .changes import model_params
from .memory import default_limit_bytes
from .places import base_urls
from .surroundings import Surroundings
from .whose_key import secret_bytes

_PLACE = b"each-upstream-has-its-own"
"""Stands where a client's key stood until the routing puts in the key of an upstream; never sent."""


def authenticate(settings: Settings, keyring: Keyring | None) -> Stage:
    """Return the stage of the mode: tenants where there is a `keyring`, pass-through or inject."""
    auth_header = settings.upstream.auth_header.lower().encode("ascii")
    found = Callers(caller_headers(settings), auth_header)
    if keyring is not None:
        return Tenants(keyring, auth_header, found)
    if mode(settings) == "pass-through":
        return PassThrough(found, _refusal(settings))
    # With several upstreams each may have its own key, put in by the routing.
    keys = [settings.upstream.api_key, *map(own_key, settings.upstreams)]
    api_key = next(key for key in keys if key is not None)
    return Inject(secret_bytes(api_key), auth_header, found)


def caller_headers(settings: Settings) -> tuple[bytes, ...]:
    """Return the names, in lower case, of further headers that tell callers apart."""
    return tuple(name.encode("ascii") for name in settings.auth.caller_headers)


def _refusal(settings: Settings) -> type[MissingCredentials] | None:
    """Return what a request without credentials gets in pass-through mode, None if it passes."""
    plain = all(url.lower().startswith("http://") for url in base_urls(settings))
    required = settings.auth.required
    if required == "false" or (required == "auto" and plain):
        return None
    return MissingCredentialsOfLocalServer if plain else MissingCredentials


def web_origins(settings: Settings) -> WebOrigins:
    """Return which pages of the web may call."""
    listed = [origin.encode("ascii") for origin in settings.cors.origins]
    normal = [ANY if origin == ANY else normal_origin(origin) for origin in listed]
    return WebOrigins(
        frozenset(origin for origin in normal if origin is not None), guards=mode(settings) == "inject"
    )


def make_keyring(settings: Settings) -> Keyring | None:
    """Return the known client keys, None where there are none.

    Raises SettingsError for one in whose place no key could go upstream.
    """
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
                upstream_key=secret_bytes(upstream_key) if upstream_key is not None else _PLACE,
                models=key.models,
                expires_at=key.expires.timestamp() if key.expires else None,
                account=Account(
                    _ascii(key.organization), _ascii(key.project), own_allowed=key.allow_organization
                ),
            )
        )
    return Keyring(entries) if entries else None


def _ascii(text: str | None) -> bytes | None:
    return None if text is None else text.encode("ascii")


def _every_upstream_has_a_key(settings: Settings) -> bool:
    return bool(settings.upstreams) and all(map(own_key, settings.upstreams))


def _own_limits(own: KeyLimits, settings: Settings) -> Limits:
    """Return a key's limits: its own where the configuration names them, also as `none`, else everybody's."""

    def limit(name: str) -> int | None:
        found: int | None = getattr(own if name in own.model_fields_set else settings.rate_limit, name)
        return found

    return Limits(limit("requests_per_minute"), limit("tokens_per_minute"), limit("concurrent_requests"))


def limits_by_key(settings: Settings) -> dict[str, Limits]:
    """Return what holds for each client key, by its name."""
    return {key.name: _own_limits(key.limits, settings) for key in client_keys(settings)}


def rate_limit(settings: Settings, around: Surroundings) -> RateLimit | None:
    """Return the stage of the limits, None where nobody has any."""
    rate_limit = settings.rate_limit
    everybody = _own_limits(KeyLimits(), settings)
    own = limits_by_key(settings)
    if not everybody and not any(own.values()):
        return None
    return RateLimit(
        around.stores.limit_store(redis_url(settings)),
        everybody,
        own,
        timers=around.reactor,
        clock=around.clock,
        max_wait_s=rate_limit.max_wait_s,
        # reserves in front of the overrides, but for what they make of a request
        estimate=TokenEstimate(model_params(settings)),
    )


def counts_model_tokens(settings: Settings) -> bool:
    """Whether any limit is on model tokens, so that usage must be known."""
    own = [key.limits.tokens_per_minute for key in settings.keys]
    return any(limit is not None for limit in (settings.rate_limit.tokens_per_minute, *own))


def body_rules(settings: Settings, budgets: Container[str]) -> BodyRules:
    """Return whose bodies must be read; `budgets` has the names of the keys with one."""
    counted = {name: limits.model_tokens_per_minute for name, limits in limits_by_key(settings).items()}
    keys = {key.name: key.models is not None for key in client_keys(settings)}
    changes_models = bool(settings.models or settings.llm_params)
    bound = {name for name, limit in counted.items() if limit is not None or name in budgets or keys[name]}
    return BodyRules(
        everybody=changes_models or settings.rate_limit.tokens_per_minute is not None,
        callers=frozenset(bound),
        exempt=frozenset() if changes_models else frozenset(counted).difference(bound),
        allow_lists=frozenset(name for name, restricted in keys.items() if restricted),
    )


def read_body(
    settings: Settings, around: Surroundings, rules: BodyRules, budgets: Container[str]
) -> ReadBody:
    """Return the stage that reads JSON bodies; `budgets` has the names of the keys with one."""
    estimates = counts_model_tokens(settings) or any(key.name in budgets for key in client_keys(settings))
    # each process holds its share
    buffered = BufferedBytes((settings.limits.buffered_bytes or default_limit_bytes()) // settings.workers)
    turns = Turns(around.reactor, around.clock)
    return ReadBody(settings.limits.json_body_bytes, rules, estimates, buffered, turns)


def redis_url(settings: Settings) -> str | None:
    """Return the Redis that limits and health look at."""
    url = settings.rate_limit.url or settings.cache.url
    text = url.get_secret_value() if url is not None else None
    return text if text is not None and text.startswith("redis") else None
