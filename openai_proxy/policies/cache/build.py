"""The cache: from settings to the stages that answer from it."""

from __future__ import annotations

from ...exchange.messages import Stage
from ...settings import Settings
from ...settings.derived import base_urls
from ..parts import Parts
from ..routing.table import RoutingTable
from .cache import Cache
from .recording_memory import RecordingMemory
from .redis import RedisStore
from .repeats import AnswerRepeats
from .request_memo import Answered
from .rules import CacheRule, CacheRules, TimesToLive, default_rules
from .store import CacheStore


def _store(settings: Settings, parts: Parts) -> CacheStore | None:
    cache = settings.cache
    if cache.url is None:
        return None
    return parts.stores.cache_store(cache.url.get_secret_value(), cache.max_bytes)


def repeats(settings: Settings, parts: Parts, answered: Answered) -> Stage | None:
    """Return the stage that answers repeated requests from memory, None without an embedded cache."""
    store = _store(settings, parts)
    # Its contents are known only to Redis, so nothing could be answered without waiting.
    return (
        None
        if store is None or isinstance(store, RedisStore)
        else AnswerRepeats(store, parts.clock, answered)
    )


def cache(
    settings: Settings,
    parts: Parts,
    answered: Answered,
    table: RoutingTable | None,
    fingerprint: str,
    memory: RecordingMemory,
) -> Stage | None:
    """Return the stage of the cache, None if no cache is configured; it notes its hits in `answered`.

    Entries are shared between configurations of the same upstreams and the same `fingerprint`.
    Recordings take their memory from `memory`.
    """
    store = _store(settings, parts)
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
        " ".join(filter(None, (*base_urls(settings), fingerprint))).encode("ascii"),
        parts.clock,
        shared=cache.shared,
        answered=answered,
        served_as=table.served_as if table is not None else None,
        memory=memory,
        others=parts.calls,
    )
