"""When something that fails too often is skipped, and when it is tried again."""

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.routing.circuit_breaker import CircuitBreaker
from openai_proxy.policies.routing.share_window import HALF_S, ShareWindow


def opened(now=0.0, **options):
    breaker = CircuitBreaker(**options)
    for _ in range(breaker.least):
        breaker.fail(now, now, "500")
    assert not breaker.closed
    return breaker


def test_three_in_a_row_are_no_share():
    """Whoever fails three times among many good answers stays."""
    breaker = CircuitBreaker()
    for _ in range(100):
        assert not breaker.succeed(0.0, 0.0)
    assert not any(breaker.fail(1.0, 1.0, "500") for _ in range(50))
    assert breaker.closed


def test_half_of_the_answers_open_it_and_only_once():
    """It opens with the failure that makes it half, and says so once."""
    breaker = CircuitBreaker()
    for _ in range(10):
        breaker.succeed(0.0, 0.0)
    opened = [breaker.fail(1.0, 1.0, "500") for _ in range(12)]
    assert opened == [False] * 9 + [True, False, False]


def test_few_failures_never_open_it():
    """A single exchange, however often it was repeated, takes nothing from anybody."""
    breaker = CircuitBreaker()
    assert [breaker.fail(now, now, "500") for now in (0.0, 1.0, 2.0, 3.0)] == [False] * 4
    assert breaker.allows(3.0)


def test_old_failures_are_forgotten():
    """Five failures in a minute are none that speak for now."""
    breaker = CircuitBreaker()
    assert not any(breaker.fail(now, now, "500") for now in (0.0, 12.0, 24.0, 36.0, 48.0, 60.0))


def test_one_trial_a_time_finds_out_whether_it_is_back():
    """A failed trial doubles the pause, a success closes; then it counts anew."""
    breaker = opened()
    assert not breaker.allows(0.9)
    assert breaker.allows(1.0)
    breaker.begin(1.0)
    assert not breaker.allows(1.1)
    assert not breaker.fail(1.2, 1.0, "500")
    assert not breaker.allows(3.1)
    assert breaker.allows(3.2)
    breaker.begin(3.2)
    assert breaker.succeed(3.3, 3.2)
    assert breaker.closed
    assert breaker.allows(3.3)
    assert not breaker.fail(3.4, 3.4, "500")


def test_an_open_circuit_is_tried_again_within_seconds():
    """However long it was away, it is found again within 8 s."""
    breaker, now = opened(), 0.0
    for _ in range(20):
        now = breaker.open_until
        breaker.begin(now)
        breaker.fail(now, now, "500")
    assert breaker.allows(now + 8.0)


def test_many_failures_at_once_are_one_outage():
    """Fifty requests that fail together do not keep it out for longer."""
    breaker = CircuitBreaker()
    for _ in range(50):
        breaker.fail(0.1, 0.0, "500")
    assert not breaker.allows(1.0)
    assert breaker.allows(1.1)


def test_what_was_begun_before_it_opened_does_not_close_it():
    """A slow answer from before says nothing about now; one from after does, trial or not."""
    breaker = opened(now=5.0)
    assert not breaker.succeed(5.5, 4.0)
    assert not breaker.allows(5.5)
    assert breaker.succeed(5.6, 5.5)


def test_requests_that_had_nowhere_else_to_go_do_not_prolong_it():
    """Only a trial's failure doubles the pause."""
    breaker = opened()
    for _ in range(10):
        breaker.begin(0.5)
        breaker.fail(0.6, 0.5, "500")
    assert breaker.allows(1.0)


@given(st.lists(st.tuples(st.floats(0, 4), st.booleans()), max_size=100))
def test_the_window_holds_the_last_seconds(steps):
    """It has all outcomes of the last 5 s, and none that is older than 10 s."""
    window, now, outcomes = ShareWindow(), 100.0, []
    for pause, failed in steps:
        now += pause
        window.note(failed, now)
        outcomes.append((now, failed))
        count, total = window.counts(now)
        recent = [f for at, f in outcomes if at > now - HALF_S]
        all_ = [f for at, f in outcomes if at >= now - 2 * HALF_S]
        assert len(recent) <= total <= len(all_)
        assert sum(recent) <= count <= sum(all_)
