"""The lists of genai-prices, as they are installed."""

import datetime
import socket
import time

import pytest
from genai_prices import Usage as ListUsage
from genai_prices import calc_price

from openai_proxy.core.exchange import Usage
from openai_proxy.cost.price_list import is_provider, look_up, provider_of

NOW = time.time()
MOMENT = datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc)
"""Some prices change by the hour."""


@pytest.mark.parametrize(
    ("base_url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://mine.openai.azure.com/openai/v1", "azure"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("http://127.0.0.1:8000/v1", "openai"),
    ],
)
def test_the_provider_follows_from_the_upstreams_host(base_url, provider):
    """A host of nobody's known probably stands before OpenAI, or names models that its list has not."""
    assert provider_of(base_url) == provider
    assert is_provider(provider)


def test_unknown_providers_are_known_as_such():
    """A slip in the configuration is found at the start."""
    assert not is_provider("opena")


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4o-2024-08-06", "o3", "text-embedding-3-small"])
@pytest.mark.parametrize("usage", [Usage(1000, 500, 200), Usage(7, 0), Usage(3_000_000, 90_000, 1)])
def test_costs_are_those_of_the_library(model, usage):
    """The quick arithmetic gives what its own would, also in higher tiers."""
    listed = look_up("openai", model, NOW)
    theirs = calc_price(
        ListUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_tokens,
        ),
        model,
        provider_id="openai",
        genai_request_timestamp=MOMENT,
    )
    assert listed.cost_usd(usage, NOW) == pytest.approx(float(theirs.total_price), rel=1e-9)


def test_tiered_prices_change_at_their_step():
    """Long prompts cost more; whichever model has tiers today."""
    from genai_prices.data import providers

    tiered = (
        (provider.id, model.id, look_up(provider.id, model.id, NOW))
        for provider in providers
        for model in provider.models
        if "tiers" in repr(vars(model.prices) if hasattr(model.prices, "__dict__") else model.prices)
    )
    provider, model, listed = next(
        found for found in tiered if found[2] and found[2].price and found[2].price.holds_up_to
    )
    step = listed.price.holds_up_to
    for tokens in (step, step + 1):
        theirs = calc_price(
            ListUsage(input_tokens=tokens), model, provider_id=provider, genai_request_timestamp=MOMENT
        )
        assert listed.cost_usd(Usage(tokens), NOW) == pytest.approx(float(theirs.total_price))


@pytest.mark.parametrize("model", ["no-such-model", "", "x" * 100_000, "\x00", "whisper-1"])
def test_what_has_no_price_by_the_token_has_none(model):
    """Made-up names, and what is sold by the minute."""
    assert look_up("openai", model, NOW) is None


def test_nothing_is_fetched(monkeypatch):
    """Prices are those that were installed."""

    def refuse(*_):
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert look_up("openai", "gpt-4o", NOW) is not None
    assert look_up("openai", "no-such-model-either", NOW) is None
