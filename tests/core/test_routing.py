"""Which upstream serves a model, and when a failed one is asked again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.core.circuit_breaker import CircuitBreaker
from openai_proxy.core.errors import UpstreamUnreachable
from openai_proxy.core.routing import (
    ModelRoute,
    RoutingTable,
    Upstream,
    choose,
    first_choice,
    model_in_path,
    with_model_in_path,
)
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


def test_what_serves_a_model_is_told_by_place_and_name():
    """Answers that are kept are those of one place and one model; what is only named changes nothing."""

    def served(model, *routes):
        return RoutingTable([A, B], routes).served_as(model)

    assert served("llama", ModelRoute("gpt-*", "a")) == b""
    assert served("gpt-4", ModelRoute("gpt-*")) == b""
    told = {
        served("fast", route)
        for route in (
            ModelRoute("fast", "a"),
            ModelRoute("fast", "b"),
            ModelRoute("fast", None, "one"),
            ModelRoute("fast", None, "two"),
            ModelRoute("fast", "a", "one"),
        )
    }
    assert len(told) == 5


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


def test_a_key_without_quota_is_tried_by_one_request_a_minute():
    """Nobody else's request is spent on finding out whether the bill was paid."""
    health = UpstreamHealth([A, B])
    health.answered(A, b"k", 429, "insufficient_quota", None, 100.0)
    health.begin(A, b"k", 160.0)
    assert not health.usable(A, b"k", 160.0)
    health.answered(A, b"k", 429, "insufficient_quota", None, 160.5)
    assert not health.usable(A, b"k", 220.0)
    health.begin(A, b"k", 221.0)
    health.answered(A, b"k", 200, "", None, 222.0)
    assert health.usable(A, b"k", 222.0)
    health.begin(A, b"k", 222.0)
    assert health.usable(A, b"k", 222.0)


def test_keys_that_rested_long_ago_are_forgotten():
    """However many keys ran out of quota, what is kept of them ends."""
    health = UpstreamHealth([A])
    for number in range(50):
        health.answered(A, b"k%d" % number, 429, "insufficient_quota", None, 0.0)
    health.answered(A, b"last", 429, "slow_down", 1.0, 1000.0)
    assert health.describe(1000.0)[0]["cooled_keys"] == 1
    health.begin(A, b"k7", 1000.0)
    assert health.usable(A, b"k7", 1000.0)


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
    health.failed(A, UpstreamUnreachable(sent="yes"), 0.0)
    assert not health.usable(A, b"", 0.0)
    assert health.usable_in_s([A], lambda _: b"", 0.0) == 1
    assert [entry["state"] for entry in health.describe(0.0)] == ["open", "closed"]
    assert [entry["state"] for entry in health.describe(2.0)] == ["half-open", "closed"]


UNREACHABLE = UpstreamUnreachable(sent="no")
RESET = UpstreamUnreachable(sent="yes")


def out(error=UNREACHABLE):
    """Return the health of two upstreams of which the first has just failed three times."""
    health = UpstreamHealth([A, B])
    assert [health.failed(A, error, 0.0) for _ in range(3)] == [False, False, True]
    return health


def test_an_upstream_that_takes_no_connections_waits_for_a_probe():
    """No request is spent on it, however long that takes; once it is reached one trial decides."""
    health = out()
    assert health.is_out(A)
    assert not health.is_out(B)
    assert not health.usable(A, b"", 1000.0)
    assert health.describe(1000.0)[0] == {"name": "a", "state": "open", "reachable": False, "cooled_keys": 0}
    health.probed(A, False, 1000.0)
    assert not health.usable(A, b"", 1000.0)
    health.probed(A, True, 1001.0)
    assert health.describe(1001.0)[0]["state"] == "half-open"
    assert health.usable(A, b"", 1001.0)
    health.begin(A, b"", 1001.0)
    assert not health.usable(A, b"", 1001.0)
    health.answered(A, b"", 200, "", None, 1001.1)
    assert not health.is_out(A)
    assert health.usable(A, b"", 1001.1)


def test_who_has_no_other_choice_may_try_a_dead_upstream_now_and_then():
    """A probe may be wrong where there is nothing to lose: as without probes, with the same pauses."""
    health = out()
    assert not health.usable_for_want_of_another(A, b"", 0.9)
    assert health.usable_for_want_of_another(A, b"", 1.0)
    health.begin(A, b"", 1.0)
    assert health.failed(A, UNREACHABLE, 1.0)
    assert not health.usable_for_want_of_another(A, b"", 2.9)
    assert health.usable_for_want_of_another(A, b"", 3.0)


def test_an_upstream_that_listens_and_fails_does_not_flap():
    """A probe that gets through proves nothing more: each failed trial doubles the pause all the same."""
    health, trials, now = out(), 0, 0.0
    while now < 30.0:
        health.probed(A, True, now)
        if health.usable(A, b"", now):
            trials += 1
            health.begin(A, b"", now)
            health.answered(A, b"", 500, "", None, now)
        now += 0.5
    assert trials == 5  # at 0, 2, 6, 14, 22


def test_a_probe_finds_out_that_an_upstream_which_cut_connections_is_gone():
    """Resets alone leave a trial; once a probe fails there is none."""
    health = out(RESET)
    assert health.usable(A, b"", 1.0)
    health.probed(A, False, 0.9)
    assert not health.usable(A, b"", 1.0)
    health = out(RESET)
    health.probed(A, True, 0.5)
    assert not health.usable(A, b"", 0.9)
    assert health.usable(A, b"", 1.0)


def test_probes_say_nothing_about_an_upstream_that_is_well():
    """A request that was answered late has closed the circuit: the probe's word comes too late."""
    health = out()
    health.answered(A, b"", 200, "", None, 1.0)
    health.probed(A, False, 1.1)
    assert health.usable(A, b"", 1.1)
    assert health.describe(1.1)[0]["reachable"] is True


def test_a_connection_refused_after_the_circuit_opened_counts_too():
    """Answers opened it, then the upstream died: what must be probed is told so."""
    health = UpstreamHealth([A, B])
    for _ in range(3):
        health.answered(A, b"", 503, "", None, 0.0)
    assert health.failed(A, UNREACHABLE, 0.1)
    assert not health.usable(A, b"", 5.0)


def test_a_tenants_own_key_stays_where_it_belongs():
    """It goes before the key of an upstream that keeps it, and is replaced elsewhere."""
    kept = Upstream("a", "http://a/v1", key=b"sk-a", kept_keys=frozenset([b"sk-alice"]))
    assert [kept.key_for(key) for key in (b"sk-alice", b"sk-bob")] == [b"sk-alice", b"sk-a"]
    assert [A.key_for(b"sk-alice"), B.key_for(b"sk-alice")] == [b"sk-a", b"sk-alice"]
    assert "sk-alice" not in repr(kept)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/models/fast", "fast"),
        (b"/models/fast?x=1", "fast"),
        (b"/models/org%2Fname", "org/name"),
        (b"/models/org/name", "org/name"),
        (b"/models/%C3%A9", "\xe9"),
        (b"/models/%ff", None),
        (b"/models/", None),
        (b"/models", None),
        (b"/modelsfast", None),
        (b"/files/models/fast", None),
    ],
)
def test_the_model_that_a_path_names(target, expected):
    """Encoded or not, the name is read; other paths name none."""
    assert expected == model_in_path(target)


@pytest.mark.parametrize(
    ("target", "model", "expected"),
    [
        (b"/models/fast", "gpt-4o-mini", b"/models/gpt-4o-mini"),
        (b"/models/fast?a=%20&b", "org/name", b"/models/org%2Fname?a=%20&b"),
        (b"/models/fast?", "ft:gpt:org::1", b"/models/ft:gpt:org::1?"),
        (b"/models/fast", "a b?#\xe9", b"/models/a%20b%3F%23%C3%A9"),
    ],
)
def test_a_models_name_is_put_in_a_path(target, model, expected):
    """As one segment, whatever is in it; the query stays byte for byte."""
    assert expected == with_model_in_path(target, model)
    assert model_in_path(expected) == model


def test_no_repr_shows_a_key():
    """An upstream printed by accident keeps its key."""
    assert "sk-a" not in repr(A)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=4), st.floats(0.0, 0.999), st.booleans())
def test_the_first_choice_is_what_any_draw_would_choose(priorities, draw, spread):
    """Where it is usable, naming it at once is no other choice than choosing among all."""
    table = RoutingTable([Upstream(str(n), "http://u/v1", priority=p) for n, p in enumerate(priorities)])
    candidates = table.candidates(None)
    first = first_choice(candidates, spread)
    if first is not None:
        assert first is choose(candidates, lambda _: True, draw if spread else None)
    else:
        assert [u.priority for u in candidates].count(candidates[0].priority) > 1
