"""What is cached without configuration, with rules, and by whose leave."""

import pytest

from openai_proxy.policies.cache.rules import (
    CacheControl,
    CacheRule,
    CacheRules,
    TimesToLive,
    Verdict,
    default_rules,
    judge,
    parse_cache_control,
)

TIMES = TimesToLive(embeddings=1, completions=2, models=3)
DEFAULTS = CacheRules(default_rules(TIMES))
COLD = {"model": "m", "temperature": 0, "seed": 1}


@pytest.mark.parametrize(
    ("method", "endpoint", "document", "ttl_s"),
    [
        (b"POST", "embeddings", {"model": "m"}, 1),
        (b"POST", "embeddings", None, 1),
        (b"POST", "chat/completions", COLD, 2),
        (b"POST", "completions", {**COLD, "n": 1, "temperature": 0.0}, 2),
        (b"GET", "models", None, 3),
        (b"GET", "models/{id}", None, 3),
        (b"DELETE", "models/{id}", None, 0),
        (b"HEAD", "models", None, 0),
        (b"GET", "chat/completions", None, 0),
        (b"POST", "files", None, 0),
        (b"POST", "responses", COLD, 0),
        (b"POST", "chat/completions", None, 0),
        (b"POST", "chat/completions", {"model": "m"}, 0),
        (b"POST", "chat/completions", {"temperature": 0}, 0),
        (b"POST", "chat/completions", {"seed": 1}, 0),
        (b"POST", "chat/completions", {**COLD, "seed": None}, 0),
        (b"POST", "chat/completions", {**COLD, "temperature": 0.1}, 0),
        (b"POST", "chat/completions", {**COLD, "temperature": False}, 0),
        (b"POST", "chat/completions", {**COLD, "temperature": "0"}, 0),
        (b"POST", "chat/completions", {**COLD, "n": 2}, 0),
        (b"POST", "chat/completions", {**COLD, "store": True}, 0),
    ],
)
def test_defaults_cache_what_comes_out_the_same(method, endpoint, document, ttl_s):
    """Embeddings, models and deterministic completions; nothing sampled, uploaded or stored upstream."""
    assert DEFAULTS.ttl_s(method, endpoint, document) == ttl_s


def test_the_first_rule_that_covers_decides():
    """Configured rules stand before the defaults: they widen and they forbid."""
    rules = CacheRules(
        (
            CacheRule("embeddings", 9, model="secret-*", condition="never"),
            CacheRule("embeddings", 7, model="big-*"),
            CacheRule("chat/completions", 8, condition="temperature_0"),
            CacheRule("responses", 5),
            *default_rules(TIMES),
        )
    )
    assert rules.ttl_s(b"POST", "embeddings", {"model": "secret-1"}, "secret-1") == 0
    assert rules.ttl_s(b"POST", "embeddings", {"model": "big-1"}, "big-1") == 7
    assert rules.ttl_s(b"POST", "embeddings", {"model": "Big-1"}, "Big-1") == 1
    assert rules.ttl_s(b"POST", "embeddings", {"model": 4}) == 1
    assert rules.ttl_s(b"POST", "embeddings", {"model": "big-1"}, "secret-1") == 0  # a deployment's name
    assert rules.ttl_s(b"POST", "embeddings", None) == 1
    assert rules.ttl_s(b"POST", "chat/completions", {"temperature": 0}) == 8
    assert rules.ttl_s(b"POST", "responses", {}) == 5
    assert TIMES.of("responses") == 2


def test_an_unknown_condition_is_refused():
    """A misspelt condition does not silently cache nothing."""
    with pytest.raises(ValueError, match="deterministic"):
        CacheRule("embeddings", 1, condition="sometimes")


@pytest.mark.parametrize(
    ("headers", "wishes"),
    [
        ([], CacheControl()),
        ([(b"Accept", b"*/*")], CacheControl()),
        ([(b"Cache-Control", b"No-Store")], CacheControl(no_store=True)),
        ([(b"cache-control", b"max-age=60, no-cache")], CacheControl(no_cache=True, max_age_s=60)),
        (
            [(b"cache-control", b"only-if-cached"), (b"cache-control", b"x")],
            CacheControl(only_if_cached=True),
        ),
        ([(b"cache-control", b"max-age=soon,,=")], CacheControl()),
        ([(b"cache-control", b"max-age=" + b"9" * 99)], CacheControl(max_age_s=999999999)),
        ([(b"Pragma", b"no-cache")], CacheControl(no_cache=True)),
        ([(b"Pragma", b"no-cache"), (b"Cache-Control", b"max-age=5")], CacheControl(max_age_s=5)),
        ([(b"If-None-Match", b'"x"')], CacheControl(no_store=True)),
        ([(b"Range", b"bytes=0-1")], CacheControl(no_store=True)),
    ],
)
def test_client_wishes(headers, wishes):
    """What a client says about the cache is heard, and nonsense does not hurt."""
    assert parse_cache_control(headers) == wishes


@pytest.mark.parametrize(
    ("status", "headers", "verdict"),
    [
        (200, [(b"Cache-Control", b"no-cache, private")], Verdict.STORE),
        (200, [(b"Vary", b"Accept-Encoding")], Verdict.STORE),
        (200, [(b"Cache-Control", b"private, no-store")], Verdict.PRIVATE),
        (200, [(b"Vary", b"*")], Verdict.PRIVATE),
        (201, [], Verdict.FAILED),
        (206, [], Verdict.FAILED),
        (429, [(b"cache-control", b"no-store")], Verdict.FAILED),
        (500, [], Verdict.FAILED),
    ],
)
def test_only_a_plain_200_is_stored(status, headers, verdict):
    """Errors are never stored, nor what the upstream forbids to store."""
    assert judge(status, headers) is verdict
