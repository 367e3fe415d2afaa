"""What is done to exchanges: overrides, thoughts, the cache, retries."""

from __future__ import annotations

import glob
import time
from typing import Any

from ..cache.known_requests import Answered
from ..cache.memory import MemoryStore
from ..cache.store import CacheStore
from ..core.cache_rules import CacheRule, CacheRules, TimesToLive, default_rules
from ..core.llm_params import ModelParams, from_table, from_text
from ..core.routing import RoutingTable
from ..core.think import ThinkRule
from ..messages import Stage
from ..settings import Settings
from ..settings.sections import Think
from ..settings.tables import ThinkEntry
from ..stages.cache import Cache
from ..stages.cache_repeats import AnswerRepeats
from ..stages.override import Override
from ..stages.retry import Retry
from ..stages.strip_think import StripThink
from .destinations import fingerprint
from .places import base_urls
from .surroundings import Surroundings


def override(settings: Settings) -> Stage | None:
    """Return the stage that sets parameters, None where none are set. Raises SettingsError."""
    rules = model_params(settings)
    return Override(rules) if rules else None


def model_params(settings: Settings) -> list[ModelParams]:
    """Return what is set per model, later ones over earlier ones. Raises SettingsError."""
    rules: list[ModelParams] = []
    for number, model in enumerate(settings.models):
        if model.params or model.default_params:
            try:
                rules.append(from_table(model.match, model.params, model.default_params, model.endpoints))
            except ValueError as error:
                raise settings.error(f"models[{number}]", str(error)) from None
    if settings.llm_params:
        try:
            rules += from_text(settings.llm_params)  # last, so that the variable wins over the file
        except ValueError as error:
            raise settings.error("llm_params", str(error)) from None
    return rules


def strip_think(settings: Settings) -> StripThink | None:
    """Return the stage of think removal, None where every model keeps its thoughts."""
    everywhere = settings.think
    models = [(m.match, _think_rule(everywhere, m.think)) for m in settings.models if m.think is not None]
    rule = _think_rule(everywhere, None)
    if not rule.active and not any(own.active for _, own in models):
        return None
    served_as = [
        (glob.escape(m.upstream_model), _think_rule(everywhere, m.think))
        for m in settings.models
        if m.think is not None and m.upstream_model is not None
    ]
    return StripThink(rule, models, served_as)


def _think_rule(everywhere: Think, own: ThinkEntry | None) -> ThinkRule:
    def value(name: str) -> Any:
        mine = getattr(own, name, None)
        return getattr(everywhere, name) if mine is None else mine

    return ThinkRule(
        value("mode"),
        value("start_tag"),
        value("end_tag"),
        value("trim"),
        value("where"),
        value("implicit_start"),
    )


def _store(settings: Settings, around: Surroundings) -> CacheStore | None:
    cache = settings.cache
    if cache.url is None:
        return None
    return around.stores.cache_store(cache.url.get_secret_value(), cache.max_bytes)


def repeats(settings: Settings, around: Surroundings, answered: Answered) -> Stage | None:
    """Return the stage that answers repeats from memory, None without an embedded cache."""
    store = _store(settings, around)
    # What Redis holds is not known without asking it: nothing could be answered at once.
    return AnswerRepeats(store, around.clock, answered) if isinstance(store, MemoryStore) else None


def cache(
    settings: Settings, around: Surroundings, answered: Answered, table: RoutingTable | None
) -> Stage | None:
    """Return the stage of the cache, None where there is none; it notes its hits in `answered`."""
    store = _store(settings, around)
    if store is None:
        return None
    cache = settings.cache
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
        store,
        CacheRules((*rules, *default_rules(times))),
        " ".join(filter(None, (*base_urls(settings), fingerprint(settings)))).encode("ascii"),
        around.clock,
        shared=cache.shared,
        answered=answered,
        served_as=table.served_as if table is not None else None,
    )


def retry(settings: Settings, around: Surroundings) -> Stage:
    """Return the stage of further attempts; it has one part that no setting turns off."""
    return Retry(settings.retry.max_retries, timers=around.reactor, clock=around.clock, wall_clock=time.time)
