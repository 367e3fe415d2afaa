"""What tokens cost."""

import pytest
from attrs import asdict
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.cost.prices import KindPrices, OwnPrice, Price, find_price, split
from openai_proxy.exchange.usage import TokenKinds, Usage

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
    """Whatever an upstream reports, a budget cannot be filled with it."""
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


AUDIO = KindPrices(input_audio=32.0, output_audio=64.0, cached_audio=0.4)


@pytest.mark.parametrize(
    ("kinds", "used", "cost_usd"),
    [
        (
            AUDIO,
            TokenKinds(audio_input_tokens=1000, audio_output_tokens=500),
            100 * 2 + 1000 * 32 + 100 * 8 + 500 * 64,
        ),
        (KindPrices(), TokenKinds(audio_input_tokens=1), None),
        (KindPrices(input_audio=32.0), TokenKinds(audio_output_tokens=1), None),
        (KindPrices(cache_write=2.5), TokenKinds(cache_write_tokens=900), 200 * 2 + 900 * 2.5 + 600 * 8),
        (KindPrices(input_image=3.0), TokenKinds(image_input_tokens=1000), 100 * 2 + 1000 * 3 + 600 * 8),
        (KindPrices(), TokenKinds(image_output_tokens=600), None),
        (KindPrices(audio_per_hour=0.36), TokenKinds(audio_seconds=9.0), 1100 * 2 + 600 * 8 + 900),
        (KindPrices(), TokenKinds(audio_seconds=9.0), None),
    ],
)
def test_each_kind_has_its_price_and_a_kind_without_one_makes_the_cost_unknown(kinds, used, cost_usd):
    """Sound at the price of text would be a tenth of the bill."""
    found = Price(2.0, 8.0, 0.5, kinds=kinds).maybe_cost_usd(Usage(1100, 600, kinds=used), None)
    assert found == (None if cost_usd is None else pytest.approx(cost_usd / 1e6, rel=1e-12))


@pytest.mark.parametrize(
    ("tier", "factor"),
    [(None, 1.0), ("default", 1.0), ("auto", 1.0), ("flex", 0.5), ("priority", None), ("x" * 99, None)],
)
@pytest.mark.parametrize("kinds", [None, TokenKinds(cache_write_tokens=3)])
def test_a_service_tier_has_its_factor_or_no_price(tier, factor, kinds):
    """What the answer names counts; a tier that nobody put a price on has none."""
    price = Price(2.0, 8.0, kinds=KindPrices(cache_write=2.0), tier_factors={"flex": 0.5})
    found = price.maybe_cost_usd(Usage(1_000_000, 0, kinds=kinds), tier)
    assert found == (None if factor is None else pytest.approx(2.0 * factor))


@given(TOKENS, TOKENS, TOKENS, st.tuples(*[TOKENS] * 7))
def test_the_parts_of_a_usage_add_up_to_it(given_tokens, made, cached, kinds):
    """Whatever an upstream reports, no token is counted twice, and none below 0."""
    parts = asdict(split(Usage(given_tokens, made, cached), TokenKinds(*kinds)))
    assert min(parts.values()) >= 0
    made_parts = {"text_out", "audio_out", "image_out"}
    assert sum(parts[name] for name in made_parts) == made
    assert sum(count for name, count in parts.items() if name not in made_parts) == given_tokens
