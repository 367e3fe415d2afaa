"""Which upstream serves a model, and when a failed one is asked again."""

import pytest

from openai_proxy.core.circuit_breaker import CircuitBreaker
from openai_proxy.core.errors import UpstreamUnreachable
from openai_proxy.core.routing import ModelRoute, RoutingTable, Upstream, choose
from openai_proxy.core.upstream_health import UpstreamHealth

A = Upstream("a", "http://a/v1", key=b"sk-a", weight=3.0)
B = Upstream("b", "http://b/v1", weight=1.0)
C = Upstream("c", "http://c/v1", priority=1)


def test_models_find_their_entry():
    """An exact name wins over a glob, an earlier glob over a later one."""
    globs = [ModelRoute("gpt-*", "a"), ModelRoute("gpt-4*", "b"), ModelRoute("gpt-4o", "c")]
    table = RoutingTable([A, B, C], globs)
    assert table.find("gpt-4o") is globs[2]
    assert table.find("gpt-4") is globs[0]
    assert table.find("llama") is None
    assert table.candidates(globs[2]) == (C,)
    assert table.candidates(None) == (A, B, C)


def test_aliases_are_names_that_exist_here_alone():
    """Only an exact name with another name upstream is an alias."""
    models = [
        ModelRoute("fast", upstream_model="gpt-4o-mini"),
        ModelRoute("gpt-*", "a", "gpt-4o"),
        ModelRoute("same", "a", "same"),
        ModelRoute("plain", "a"),
    ]
    assert RoutingTable([A], models).aliases == ("fast",)


@pytest.mark.parametrize(
    ("upstreams", "models"), [([], []), ([A, A], []), ([A], [ModelRoute("m", "nowhere")])]
)
def test_a_table_that_makes_no_sense_is_refused(upstreams, models):
    """Mistakes stop the start."""
    with pytest.raises(ValueError):
        RoutingTable(upstreams, models)


@pytest.mark.parametrize(
    ("usable", "draw", "expected"),
    [
        ("abc", None, "a"),
        ("abc", 0.0, "a"),
        ("abc", 0.74, "a"),
        ("abc", 0.76, "b"),
        ("abc", 0.999, "b"),
        ("bc", 0.0, "b"),
        ("c", 0.5, "c"),
        ("", 0.5, None),
    ],
)
def test_priority_comes_before_weight(usable, draw, expected):
    """The best priority that can serve does, its members by weight."""
    chosen = choose((A, B, C), lambda upstream: upstream.name in usable, draw)
    assert expected == (chosen.name if chosen else None)


def test_a_circuit_opens_and_closes():
    """Three failures in a row stop requests; one trial a time finds out whether it is back."""
    breaker = CircuitBreaker()
    for now in (0.0, 0.1, 0.2):
        assert breaker.allows(now)
        breaker.begin(now)
        breaker.fail(now)
    assert not breaker.allows(1.1)
    assert breaker.allows(1.2)
    breaker.begin(1.2)
    assert not breaker.allows(1.3)
    breaker.fail(1.3)
    assert not breaker.allows(3.2)
    assert breaker.allows(3.3)
    breaker.begin(3.3)
    breaker.succeed()
    assert breaker.allows(3.3)
    breaker.fail(3.4)
    assert breaker.allows(3.4)


def test_an_open_circuit_is_tried_again_within_seconds():
    """However long an upstream was away, it is found again within 8 s."""
    breaker, now = CircuitBreaker(), 0.0
    for _ in range(20):
        breaker.fail(now)
    assert breaker.allows(now + 8.0)


def test_many_failures_at_once_are_one_outage():
    """Fifty requests that a dying upstream fails together do not keep it out for longer."""
    breaker = CircuitBreaker()
    for _ in range(50):
        breaker.begin(0.0)
    for _ in range(50):
        breaker.fail(0.1)
    assert not breaker.allows(1.0)
    assert breaker.allows(1.1)


@pytest.mark.parametrize(
    ("code", "asked_s", "out_s"),
    [
        ("rate_limit_exceeded", 20.0, 20.0),
        ("slow_down", 5.0, 5.0),
        ("insufficient_quota", 5.0, 60.0),
        ("insufficient_quota", None, 60.0),
        ("rate_limit_exceeded", None, 0.0),
    ],
)
def test_a_429_takes_its_key_out_alone(code, asked_s, out_s):
    """The key cools as long as it was told; other keys and upstreams go on."""
    health = UpstreamHealth([A, B])
    health.answered(A, b"k", 429, code, asked_s, 100.0)
    assert health.usable(A, b"k", 100.0 + out_s)
    assert not out_s or not health.usable(A, b"k", 100.0 + out_s - 0.01)
    assert health.usable(A, b"other", 100.0)
    assert health.usable(B, b"k", 100.0)


def test_a_key_without_quota_is_not_let_in_by_a_shorter_wait():
    """A late answer that asks for less does not shorten what is known."""
    health = UpstreamHealth([A, B])
    health.answered(A, b"k", 429, "insufficient_quota", None, 100.0)
    health.answered(A, b"k", 429, "rate_limit_exceeded", 1.0, 100.0)
    assert not health.usable(A, b"k", 159.0)
    assert health.usable(A, b"k", 160.0)


def test_health_counts_failures_in_a_row():
    """Broken answers and failed connections open the circuit, a stale connection does not."""
    health = UpstreamHealth([A, B])
    for _ in range(5):
        health.failed(A, UpstreamUnreachable(sent="stale"), 0.0)
    assert health.usable(A, b"", 0.0)
    health.failed(A, UpstreamUnreachable(sent="no"), 0.0)
    health.answered(A, b"", 503, "", None, 0.0)
    health.answered(A, b"", 404, "", None, 0.0)
    health.answered(A, b"", 503, "", None, 0.0)
    health.answered(A, b"", 500, "", None, 0.0)
    assert health.usable(A, b"", 0.0)
    health.failed(A, UpstreamUnreachable(sent="no"), 0.0)
    assert not health.usable(A, b"", 0.0)
    assert health.usable_in_s([A], lambda _: b"", 0.0) == 1
    assert [entry["state"] for entry in health.describe(0.0)] == ["open", "closed"]
    assert [entry["state"] for entry in health.describe(2.0)] == ["half-open", "closed"]


def test_no_repr_shows_a_key():
    """An upstream printed by accident keeps its key."""
    assert "sk-a" not in repr(A)
