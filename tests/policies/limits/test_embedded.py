"""The embedded store: atomic decisions, bounded memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from openai_proxy.policies.limits.embedded import EmbeddedStore
from openai_proxy.policies.limits.rules import Limits


def now_of(coroutine):
    """Return what a coroutine that waits for nothing returns."""
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


@pytest.fixture
def clock():
    return Clock()


def admit(store, limits, tokens=0, key="k"):
    return now_of(store.admit(key, limits, tokens, "slot"))


def test_a_request_refused_by_one_limit_costs_nothing_in_the_others(clock):
    """A burst of refused requests leaves the other buckets as they were."""
    store = EmbeddedStore(clock.seconds)
    limits = Limits(10, 100, 1)
    first = admit(store, limits, 100)
    assert first.admitted
    for _ in range(20):
        assert not admit(store, limits, 10).admitted
    store.finish(first, 0)
    last = admit(store, limits, 100)
    assert last.admitted
    assert last.levels.requests == 9


def test_use_beyond_the_reservation_is_debt(clock):
    """What a response really cost is paid before the next one is admitted."""
    store = EmbeddedStore(clock.seconds)
    limits = Limits(None, 60)
    store.finish(admit(store, limits, 10), 90)
    refused = admit(store, limits, 1)
    assert not refused.admitted
    assert refused.levels.model_tokens == -30
    clock.advance(31)
    assert admit(store, limits, 1).admitted


def test_use_that_was_admitted_elsewhere_is_debt_too(clock):
    """Redis admitted the request, and was away when it ended."""
    limits = Limits(None, 60)
    store = EmbeddedStore(clock.seconds)
    store.finish(admit(EmbeddedStore(clock.seconds), limits, 10), 90)
    assert admit(store, limits, 1).levels.model_tokens == -20


def test_fifty_parallel_requests_keep_one_bucket(clock):
    """Requests at once cannot cheat a bucket: each reserves before it goes."""
    store = EmbeddedStore(clock.seconds)
    admitted = [admit(store, Limits(None, 100), 10).admitted for _ in range(50)]
    assert admitted.count(True) == 10


def test_keys_do_not_share(clock):
    """One key's limit is its own."""
    store = EmbeddedStore(clock.seconds)
    assert admit(store, Limits(1), key="a").admitted
    assert not admit(store, Limits(1), key="a").admitted
    assert admit(store, Limits(1), key="b").admitted


def test_idle_keys_are_forgotten(clock):
    """A stream of unknown callers takes no memory once their minute is over."""
    store = EmbeddedStore(clock.seconds)
    limits = Limits(2, None, 2)
    for key in range(1000):
        store.finish(admit(store, limits, key=str(key)), 0)
        clock.advance(1)
    assert len(store) < 100


def test_a_key_in_deep_debt_keeps_no_other_in_memory(clock):
    """One huge answer, paid off in hours, does not let every key that comes by stay as long."""
    store = EmbeddedStore(clock.seconds)
    limits = Limits(10, 100)
    store.finish(admit(store, limits, 100, "debtor"), 100_000)
    for number in range(200):
        store.finish(admit(store, limits, 10, f"k{number}"), 10)
    clock.advance(61)
    for _ in range(201):
        store.finish(admit(store, limits, 0, "last"), 0)
    assert len(store) == 2
    assert not admit(store, limits, 1, "debtor").admitted


def test_keys_above_the_bound_are_forgotten_but_never_running_ones(clock):
    """However many strangers come at once, running requests keep their count."""
    store = EmbeddedStore(clock.seconds, max_keys=10)
    limits = Limits(None, None, 1)
    busy = Limits(1)
    admit(store, limits, key="running")
    for key in range(100):
        store.finish(admit(store, busy, key=str(key)), 0)
    assert len(store) <= 12
    assert not admit(store, limits, key="running").admitted


def test_a_reload_keeps_what_was_used(clock):
    """Changed limits meet the same bucket."""
    store = EmbeddedStore(clock.seconds)
    for _ in range(3):
        assert admit(store, Limits(3)).admitted
    assert not admit(store, Limits(3)).admitted
    assert admit(store, Limits(4)).admitted
    assert not admit(store, Limits(4)).admitted


def test_a_request_from_before_a_reload_keeps_the_new_limits(clock):
    """What an old stream used is settled in the bucket as it is now; a new limit does not start again."""
    store = EmbeddedStore(clock.seconds)
    old, new = Limits(None, 100), Limits(2, 100)
    stream = admit(store, old, 10)
    for _ in range(2):
        assert admit(store, new).admitted
    store.finish(stream, 50)
    refused = admit(store, new)
    assert not refused.admitted
    assert (refused.levels.requests, refused.levels.model_tokens) == (0, 50)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 200), st.booleans()), max_size=60))
def test_requests_never_exceed_the_limit(steps):
    """Over any schedule a key gets no more than capacity and refill, nor too many at once."""
    clock = Clock()
    store = EmbeddedStore(clock.seconds)
    limits = Limits(5, 500, 2)
    running, count = [], 0
    for pause, tokens, ends in steps:
        clock.advance(pause)
        if ends and running:
            admission = running.pop()
            store.finish(admission, admission.reserved)
        admission = admit(store, limits, tokens)
        if admission.admitted:
            running.append(admission)
            count += 1
        assert len(running) <= 2
        assert count <= 5 + clock.seconds() * 5 / 60 + 1e-3
