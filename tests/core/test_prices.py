"""What tokens cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.core.exchange import Usage
from openai_proxy.core.prices import OwnPrice, Price, find_price

TOKENS = st.integers(0, 10**9)


@pytest.mark.parametrize(
    ("usage", "cost_usd"),
    [
        (Usage(1_000_000, 0), 2.0),
        (Usage(0, 1_000_000), 8.0),
        (Usage(1_000_000, 0, cached_tokens=1_000_000), 0.5),
        (Usage(1000, 100, cached_tokens=400, reasoning_tokens=90), 0.0022),
        (Usage(10, 0, cached_tokens=50), 0.000005),
        (Usage(), 0.0),
    ],
)
def test_cost_is_by_the_million_and_cached_input_has_its_own_price(usage, cost_usd):
    """Reasoning is part of the output, cached tokens part of the input, never more than it."""
    assert Price(2.0, 8.0, 0.5).cost_usd(usage) == pytest.approx(cost_usd, abs=1e-15)


def test_cached_input_without_a_price_of_its_own_costs_as_other_input():
    """A price list that says nothing of caching gives no rebate."""
    assert Price(2.0).cost_usd(Usage(1_000_000, 5, cached_tokens=500_000)) == 2.0


@given(TOKENS, TOKENS, TOKENS)
def test_no_usage_costs_less_than_nothing(given_tokens, made, cached):
    """Whatever an upstream reports, a budget can not be filled with it."""
    assert Price(2.0, 8.0, 0.5).cost_usd(Usage(given_tokens, made, cached)) >= 0.0


def test_a_price_may_hold_up_to_some_input_only():
    """Long prompts are another tier."""
    price = Price(2.0, holds_up_to=272_000)
    assert price.holds_for(Usage(272_000))
    assert not price.holds_for(Usage(272_001))


def test_the_exact_name_goes_before_globs_and_the_first_name_before_the_second():
    """What clients say is looked up first, then the upstream's name."""
    exact, glob, upstream = Price(1.0), Price(2.0), Price(3.0)
    prices = [OwnPrice("fast*", glob), OwnPrice("fast", exact), OwnPrice("qwen*", upstream)]
    assert find_price(prices, ("fast", "qwen3")) is exact
    assert find_price(prices, ("faster", "qwen3")) is glob
    assert find_price(prices, ("slow", "qwen3")) is upstream
    assert find_price(prices, ("slow",)) is None
