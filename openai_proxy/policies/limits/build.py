"""The limits of client keys: from settings to the stage that keeps them."""

from __future__ import annotations

from ...settings import Settings, client_keys
from ...settings.derived import redis_url
from ...settings.tables import KeyLimits
from ...settings.tenants import found_once
from ..override.build import model_params
from ..parts import Parts
from ..usage.estimate import token_estimate
from .rate_limit import RateLimit
from .rules import GroupScope, Limits


def own_limits(own: KeyLimits, settings: Settings) -> Limits:
    """Return a key's limits: its own if the configuration names them, also as `none`, else those for everybody."""

    def limit(name: str) -> int | None:
        found: int | None = getattr(own if name in own.model_fields_set else settings.rate_limit, name)
        return found

    return Limits(limit("requests_per_minute"), limit("tokens_per_minute"), limit("concurrent_requests"))


def limits_by_key(settings: Settings) -> dict[str, Limits]:
    """Return the limits of each client key, by its name."""
    return found_once(settings, "limits", lambda: _limits_by_key(settings))


def _limits_by_key(settings: Settings) -> dict[str, Limits]:
    return {key.name: own_limits(key.limits, settings) for key in client_keys(settings)}


def _group_limits(settings: Settings) -> dict[str, tuple[GroupScope, ...]]:
    """Return the groups with limits that each client key belongs to, by its name; the nearest first."""
    return found_once(settings, "group limits", lambda: _find_group_limits(settings))


def _find_group_limits(settings: Settings) -> dict[str, tuple[GroupScope, ...]]:
    scopes = {}
    for group in settings.groups:
        its = group.limits
        limits = Limits(its.requests_per_minute, its.tokens_per_minute, its.concurrent_requests)
        if limits:
            scopes[group.name] = GroupScope(group.name, limits)
    found = {
        key.name: tuple(scopes[group.name] for group in key.groups if group.name in scopes)
        for key in client_keys(settings)
    }
    return {name: groups for name, groups in found.items() if groups}


def token_limited(settings: Settings) -> dict[str, bool]:
    """Return for each client key whether it has a limit of model tokens: its own, or that of a group."""
    return found_once(settings, "token limits", lambda: _find_token_limited(settings))


def _find_token_limited(settings: Settings) -> dict[str, bool]:
    grouped = _group_limits(settings)
    return {
        name: limits.model_tokens_per_minute is not None
        or any(scope.limits.model_tokens_per_minute is not None for scope in grouped.get(name, ()))
        for name, limits in limits_by_key(settings).items()
    }


def limited_keys(settings: Settings) -> frozenset[str]:
    """Return the names of the client keys that have any limit: their own, or that of a group."""
    own = {name for name, limits in limits_by_key(settings).items() if limits}
    return frozenset(own.union(_group_limits(settings)))


def rate_limit(settings: Settings, parts: Parts) -> RateLimit | None:
    """Return the stage of the limits, None if there are no limits."""
    rate_limit = settings.rate_limit
    everybody = own_limits(KeyLimits(), settings)
    own = limits_by_key(settings)
    groups = _group_limits(settings)
    if not everybody and not any(own.values()) and not groups:
        return None
    return RateLimit(
        parts.stores.limit_store(redis_url(settings)),
        everybody,
        own,
        groups=groups,
        timers=parts.reactor,
        clock=parts.clock,
        max_wait_s=rate_limit.max_wait_s,
        # reserves before the overrides run, but for the parameters that they will set
        estimate=token_estimate(model_params(settings)),
    )


def counts_model_tokens(settings: Settings) -> bool:
    """Return whether any limit is on model tokens, so that usage must be known."""
    return settings.rate_limit.tokens_per_minute is not None or any(token_limited(settings).values())
