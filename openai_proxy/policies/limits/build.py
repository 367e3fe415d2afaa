"""The limits of client keys: from settings to the stage that keeps them."""

from __future__ import annotations

from ...settings import Settings, client_keys
from ...settings.derived import redis_url
from ...settings.tables import KeyLimits
from ..override.build import model_params
from ..parts import Parts
from ..usage.estimate import TokenEstimate
from .rate_limit import RateLimit
from .rules import Limits


def _own_limits(own: KeyLimits, settings: Settings) -> Limits:
    """Return a key's limits: its own where the configuration names them, also as `none`, else everybody's."""

    def limit(name: str) -> int | None:
        found: int | None = getattr(own if name in own.model_fields_set else settings.rate_limit, name)
        return found

    return Limits(limit("requests_per_minute"), limit("tokens_per_minute"), limit("concurrent_requests"))


def limits_by_key(settings: Settings) -> dict[str, Limits]:
    """Return what holds for each client key, by its name."""
    return {key.name: _own_limits(key.limits, settings) for key in client_keys(settings)}


def rate_limit(settings: Settings, parts: Parts) -> RateLimit | None:
    """Return the stage of the limits, None if nobody has any."""
    rate_limit = settings.rate_limit
    everybody = _own_limits(KeyLimits(), settings)
    own = limits_by_key(settings)
    if not everybody and not any(own.values()):
        return None
    return RateLimit(
        parts.stores.limit_store(redis_url(settings)),
        everybody,
        own,
        timers=parts.reactor,
        clock=parts.clock,
        max_wait_s=rate_limit.max_wait_s,
        # reserves in front of the overrides, but for what they make of a request
        estimate=TokenEstimate(model_params(settings)),
    )


def counts_model_tokens(settings: Settings) -> bool:
    """Whether any limit is on model tokens, so that usage must be known."""
    own = [key.limits.tokens_per_minute for key in client_keys(settings)]
    return any(limit is not None for limit in (settings.rate_limit.tokens_per_minute, *own))
