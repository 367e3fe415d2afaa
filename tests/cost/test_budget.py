"""Who is let in by a budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.cost.budget import Account, Balance, Budget, Need, admit, admit_in_turn, period_name

NEW_YEAR = 1_798_761_600.0
"""2027-01-01T00:00:00Z."""


@pytest.mark.parametrize(
    ("period", "timestamp", "name"),
    [
        ("day", NEW_YEAR - 0.001, "2026-12-31"),
        ("day", NEW_YEAR, "2027-01-01"),
        ("month", NEW_YEAR - 0.001, "2026-12"),
        ("month", NEW_YEAR, "2027-01"),
    ],
)
def test_periods_are_days_and_months_of_utc(period, timestamp, name):
    """A new period begins at midnight UTC, wherever the daemon runs."""
    assert period_name(period, timestamp) == name
    assert Budget(1.0, period).account("k", timestamp) == Account("k", name)


@pytest.mark.parametrize(
    ("spent_usd", "held_usd", "wanted_usd", "granted"),
    [
        (0.0, 0.0, 4.0, 4.0),
        (5.0, 1.0, 4.0, 4.0),
        (5.0, 1.1, 4.0, None),
        (0.0, 0.0, 99.0, 10.0),
        (0.1, 0.0, 99.0, None),
        (9.9, 0.0, 0.0, 0.0),
        (10.0, 0.0, 0.0, None),
        (4.0, 6.0, 0.0, None),
    ],
)
def test_admission_is_for_what_is_left(spent_usd, held_usd, wanted_usd, granted):
    """Reserved money counts as spent; what is larger than the budget needs all of it."""
    assert admit(Balance(spent_usd, held_usd), Need(wanted_usd, 10.0)) == granted


def test_ten_tenths_are_a_whole():
    """Sums of binary fractions do not refuse the last request."""
    assert admit_in_turn(Balance(), [Need(0.1, 1.0)] * 11) == [0.1] * 10 + [None]


@given(st.floats(0, 20), st.floats(0, 20), st.lists(st.floats(0, 20), max_size=20), st.floats(0.001, 20))
def test_what_is_granted_never_exceeds_the_limit(spent_usd, held_usd, wanted, limit_usd):
    """However many ask at once, together they get what is left."""
    balance = Balance(spent_usd, held_usd)
    granted = sum(each or 0.0 for each in admit_in_turn(balance, [Need(usd, limit_usd) for usd in wanted]))
    assert granted <= max(0.0, limit_usd - spent_usd - held_usd) + limit_usd * 1e-6
