"""Limits on what is open at once, divided between workers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.settings import SettingsError, load_settings
from openai_proxy.workers.shares import check_shares, divided, share


@given(st.integers(1, 10**6), st.integers(1, 1024))
def test_shares_add_up_to_the_limit(total, workers):
    """All workers together take what one process would, exactly."""
    shares = [share(total, number, workers) for number in range(1, workers + 1)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


def settings(tmp_path, **environ):
    return load_settings({}, environ, tmp_path)


def test_connections_and_requests_in_flight_are_divided(tmp_path):
    """What is limited per request stays as it is."""
    whole = settings(tmp_path, LIMITS__IN_FLIGHT="5", LIMITS__CONNECTIONS="10", LIMITS__HEADER_COUNT="9")
    first, second = (divided(whole, number, 2).limits for number in (1, 2))
    assert (first.in_flight, second.in_flight) == (3, 2)
    assert (first.connections, second.connections) == (5, 5)
    assert first.header_count == 9


def test_no_limit_stays_none(tmp_path):
    """Nothing is invented if nothing is set."""
    assert divided(settings(tmp_path), 1, 4).limits.in_flight is None


def test_a_limit_below_the_number_of_workers_is_refused(tmp_path):
    """A worker that may take nothing would be no worker."""
    with pytest.raises(SettingsError, match=r"limits\.in_flight.*LIMITS__IN_FLIGHT.*cannot be divided"):
        check_shares(settings(tmp_path, WORKERS="4", LIMITS__IN_FLIGHT="3"))
