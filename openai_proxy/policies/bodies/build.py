"""From settings to the stage that reads bodies, and to the rules that need them."""

from __future__ import annotations

from collections.abc import Container

from ...exchange.buffered_bytes import BufferedBytes
from ...net.memory import default_limit_bytes
from ...net.turns import Turns
from ...settings import Settings, client_keys
from ..limits.build import counts_model_tokens, token_limited
from ..parts import Parts
from .read_body import BodyRules, ReadBody
from .read_form import ReadForm


def body_rules(settings: Settings, budgets: Container[str]) -> BodyRules:
    """Return which callers' bodies must be read; `budgets` has the names of the keys with a budget."""
    counted = token_limited(settings)
    keys = {key.name: key.models is not None for key in client_keys(settings)}
    changes_models = bool(settings.models or settings.llm_params)
    bound = {name for name, limited in counted.items() if limited or name in budgets or keys[name]}
    return BodyRules(
        everybody=changes_models or settings.rate_limit.tokens_per_minute is not None,
        callers=frozenset(bound),
        exempt=frozenset() if changes_models else frozenset(counted).difference(bound),
        allow_lists=frozenset(name for name, restricted in keys.items() if restricted),
        owners=_owners(settings),
        routed=len(settings.upstreams) > 1,
    )


def _owners(settings: Settings) -> frozenset[str]:
    """Return the keys whose stored objects are told apart."""
    if settings.objects.owners != "enforce":
        return frozenset()
    return frozenset(key.name for key in client_keys(settings) if not key.owns_all)


def buffered_bytes(settings: Settings) -> BufferedBytes:
    """Return the count of body bytes that this process holds; each process has its share of the limit."""
    return BufferedBytes((settings.limits.buffered_bytes or default_limit_bytes()) // settings.workers)


def read_body(
    settings: Settings, parts: Parts, rules: BodyRules, budgets: Container[str], buffered: BufferedBytes
) -> ReadBody:
    """Return the stage that reads JSON bodies; `budgets` has the names of the keys with a budget."""
    estimates = counts_model_tokens(settings) or any(key.name in budgets for key in client_keys(settings))
    turns = Turns(parts.reactor, parts.clock)
    return ReadBody(settings.limits.json_body_bytes, rules, estimates, buffered, turns)


def read_form(settings: Settings, rules: BodyRules, buffered: BufferedBytes) -> ReadForm:
    """Return the stage that finds the model of forms."""
    return ReadForm(
        rules.callers,
        rules.allow_lists,
        routes=bool(settings.models),
        limit_bytes=settings.limits.json_body_bytes,
        fence_bytes=settings.limits.form_model_bytes,
        buffered=buffered,
    )
