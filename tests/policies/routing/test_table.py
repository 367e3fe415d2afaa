"""Which upstream serves a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.routing.table import (
    ModelRoute,
    RoutingTable,
    Upstream,
    best_of,
    by_weight,
    first_choice,
    model_in_path,
    with_model_in_path,
)

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


def test_upstream_and_name_identify_what_serves_a_model():
    """Answers that are kept are those of one place and one model; what is only named changes nothing."""

    def served(model, *routes):
        return RoutingTable([A, B], routes).served_as(model)

    assert served("llama", ModelRoute("gpt-*", "a")) == b""
    assert served("gpt-4", ModelRoute("gpt-*")) == b""
    names = {
        served("fast", route)
        for route in (
            ModelRoute("fast", "a"),
            ModelRoute("fast", "b"),
            ModelRoute("fast", None, "one"),
            ModelRoute("fast", None, "two"),
            ModelRoute("fast", "a", "one"),
        )
    }
    assert len(names) == 5


def test_aliases_are_names_that_exist_only_here():
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
    best = best_of((A, B, C), lambda upstream: upstream.name in usable)
    chosen = (best[0] if draw is None else by_weight(best, draw)) if best else None
    assert expected == (chosen.name if chosen else None)


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
    """If it is usable, naming it at once is no other choice than choosing among all."""
    table = RoutingTable([Upstream(str(n), "http://u/v1", priority=p) for n, p in enumerate(priorities)])
    candidates = table.candidates(None)
    first = first_choice(candidates, spread)
    if first is not None:
        best = best_of(candidates, lambda _: True)
        assert first is (by_weight(best, draw) if spread else best[0])
    else:
        assert [u.priority for u in candidates].count(candidates[0].priority) > 1
