"""Token buckets keep their promise over any schedule."""

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.limits.token_bucket import TokenBucket

_steps = st.lists(
    st.tuples(st.floats(0, 100), st.integers(0, 50), st.integers(-40, 60) | st.none()), max_size=60
)


@given(st.integers(1, 500), _steps)
def test_never_more_than_capacity_and_refill(limit, steps):
    """Whatever is asked for when, no window gives more than the capacity and its refill."""
    bucket = TokenBucket.per_minute(limit)
    taken: list[tuple[float, float]] = []
    now = 0.0
    for pause, cost, _ in steps:
        now += pause
        if bucket.take(cost, now):
            taken.append((now, cost))
    for first, (start, _) in enumerate(taken):
        total = 0.0
        for end, cost in taken[first:]:
            total += cost
            assert total <= limit + (end - start) * limit / 60.0 + 1e-3


@given(st.integers(1, 500), _steps)
def test_settled_use_is_paid_for(limit, steps):
    """With settling, all that was used in debt is earned back before more is given."""
    bucket = TokenBucket.per_minute(limit)
    now = used = 0.0
    for pause, cost, difference in steps:
        now += pause
        if bucket.take(cost, now):
            assert used <= limit + now * limit / 60.0 + 1e-3
            extra = max(-cost, difference or 0)
            bucket.settle(extra, now)
            used += cost + extra
        assert bucket.level <= limit


@given(st.integers(1, 1000), st.floats(0.1, 1000))
def test_whoever_waits_as_told_is_served(limit, start):
    """A wait rounded up to milliseconds is long enough, whatever the rounding of floats."""
    bucket = TokenBucket.per_minute(limit)
    while bucket.take(1.0, start):
        pass
    wait_s = (1.0 - bucket.level) * 60.0 / limit
    assert bucket.take(1.0, start + wait_s)


def test_time_running_backwards_gives_nothing():
    """An earlier time neither refills nor takes away."""
    bucket = TokenBucket.per_minute(60)
    bucket.take(60, 100.0)
    assert bucket.refill(50.0) == 0.0
    assert bucket.refill(101.0) == 1.0


def test_a_changed_limit_keeps_what_was_taken():
    """A reload with a higher limit opens the difference, one with a lower may leave debt."""
    bucket = TokenBucket.per_minute(60)
    bucket.take(50, 0.0)
    bucket.resize(100)
    assert bucket.level == 50
    bucket.resize(30)
    assert bucket.level == -20
