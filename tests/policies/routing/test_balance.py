"""How requests are spread over upstreams of one priority."""

import json
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.record import Exchange
from openai_proxy.policies.routing.balance import Balance
from openai_proxy.policies.routing.sessions import score, session_of
from openai_proxy.policies.routing.table import Upstream
from openai_proxy.wire.request_json import outline, read_request

A, B, C = (Upstream(name, f"http://{name}/v1") for name in "abc")


def balance(counts=None, seed=1, **options):
    return Balance({"a": 0, "b": 0, "c": 0, **(counts or {})}, Random(seed).random, **options)


def sessions(number):
    random = Random(7)
    return [random.getrandbits(64) for _ in range(number)]


def test_an_upstream_that_goes_takes_only_its_own_sessions_along():
    """At most 34 % of 20,000 sessions move when one of three goes, and they all come back."""
    chosen = {each: balance().pick((A, B, C), each)[0] for each in sessions(20_000)}
    without_b = {each: balance().pick((A, C), each)[0] for each in chosen}
    moved = [each for each in chosen if chosen[each] is not without_b[each]]
    assert all(chosen[each] is B for each in moved)
    assert len(moved) / len(chosen) <= 0.34
    assert Counter(without_b[each].name for each in moved)["a"] / len(moved) == pytest.approx(0.5, abs=0.03)


def test_sessions_are_spread_by_weight():
    """An upstream of weight 3 has three times the sessions of one of weight 1."""
    heavy = Upstream("a", "http://a/v1", weight=3.0)
    names = Counter(balance().pick((heavy, B), each)[0].name for each in sessions(20_000))
    assert names["a"] / names["b"] == pytest.approx(3.0, rel=0.06)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.floats(0.001, 1000))
def test_every_score_is_a_number(session, seed, weight):
    """Also at the ends of the range."""
    assert score(session, seed, weight) > 0.0
    assert score(2**64 - 1, 0, weight) > 0.0 < score(0, 0, weight)


def test_a_crowded_upstream_is_passed_over():
    """More than 1.25 times its share in flight, and at least 4: the session goes to the next one for once."""
    session = next(each for each in sessions(100) if balance().pick((A, B, C), each)[0] is A)
    assert balance({"a": 3}).pick((A, B, C), session) == (A, "cache")
    crowded, reason = balance({"a": 4}).pick((A, B, C), session)
    assert (crowded is not A, reason) == (True, "spill")
    assert balance({"a": 5, "b": 5, "c": 4}).pick((A, B, C), session) == (A, "cache")
    heavy = Upstream("a", "http://a/v1", weight=10.0)
    assert balance({"a": 20, "b": 2, "c": 2}).pick((heavy, B, C), session) == (heavy, "cache")


def test_the_less_busy_of_two_serves():
    """Requests in flight count for the weight."""
    counts = {"a": 9, "b": 1, "c": 9}
    names = Counter(
        balance(counts, seed, least_busy=True).pick((A, B, C), None)[0].name for seed in range(300)
    )
    assert names["b"] / 300 == pytest.approx(5 / 9, abs=0.08)
    heavy = Upstream("a", "http://a/v1", weight=100.0)
    chosen = [
        balance({"a": 50, "b": 1}, seed, least_busy=True).pick((heavy, B), None)[0].name for seed in range(50)
    ]
    assert set(chosen) == {"a"}
    assert balance().pick((A,), None) == (A, "only")


def session(document, headers=(), key="alice", header=b"x-session-id"):
    exchange = Exchange(0.0, 0.0, "POST", "/v1/x")
    exchange.credential_id = key
    body = json.dumps(document).encode()
    kept = outline(read_request(body).document)[0]
    request = ProxyRequest(b"POST", b"/x", [*headers], body, exchange, document=kept)
    return session_of(request, header)


def chat(*texts, system="you are"):
    roles = ["user", "assistant"] * 5
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    return {"model": "m", "messages": [{"role": "system", "content": system}, *messages]}


def test_a_session_is_known_by_its_beginning():
    """Later messages change nothing; another first message, system prompt, model or key does."""
    one = session(chat("hello"))
    assert session(chat("hello", "hi", "more")) == one
    assert session({"model": "m", "input": "x", "instructions": "i"}) == session(
        {"instructions": "i", "input": "x", "model": "m"}
    )
    others = [
        session(chat("goodbye")),
        session(chat("hello", system="you were")),
        session({**chat("hello"), "model": "other"}),
        session(chat("hello"), key="bob"),
        session({"model": "m"}),
    ]
    assert len({one, *others}) == 6


@pytest.mark.parametrize(
    ("more", "headers"),
    [
        ({"prompt_cache_key": "k"}, []),
        ({}, [(b"X-Session-Id", b"s")]),
        ({"conversation": "conv_1"}, []),
        ({"conversation": {"id": "conv_1"}}, []),
        ({"metadata": {"other": 1, "session_id": "s"}}, []),
    ],
)
def test_a_session_that_has_a_name_is_known_by_it(more, headers):
    """Whatever the messages are."""
    assert session({**chat("hello"), **more}, headers) == session({**chat("bye"), **more}, headers)
    assert session({**chat("hello"), **more}, headers) != session(chat("hello"))
