"""The lists of genai-prices, as they are installed."""

import datetime
import socket
import sys
import time

import pytest
from genai_prices import Usage as ListUsage
from genai_prices import calc_price

from openai_proxy.cost.price_list import is_provider, look_up, provider_of
from openai_proxy.exchange.usage import TokenKinds, Usage

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


@pytest.mark.parametrize("model", ["no-such-model", "", "x" * 100_000, "\x00", "tts-1"])
def test_what_has_no_price_by_the_token_has_none(model):
    """Made-up names, and what is sold by the character."""
    assert look_up("openai", model, NOW) is None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "omni-moderation-latest"),
        ("openai", "text-moderation-007"),
        ("openrouter", "qwen/qwen3-coder:free"),
    ],
)
def test_what_the_list_says_is_free_costs_nothing(provider, model):
    """A key with a budget was refused moderations as soon as it had spent anything: they counted as unpriced."""
    listed = look_up(provider, model, NOW)
    assert listed is not None
    assert listed.cost_usd(Usage(1000, 500), NOW) == 0.0


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1"])
def test_what_the_list_only_has_no_price_for_is_not_free(model):
    """Sold by subscription there."""
    assert look_up("github-copilot", model, NOW) is None


def test_nothing_is_fetched(monkeypatch):
    """Prices are those that were installed."""

    def refuse(*_):
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert look_up("openai", "gpt-4o", NOW) is not None
    assert look_up("openai", "no-such-model-either", NOW) is None


M = 1e6
HAND_COMPUTED = [
    # model, usage, US dollars by OpenAI's public prices for a million tokens
    ("gpt-4o", Usage(1000, 500), (1000 * 2.5 + 500 * 10) / M),
    ("gpt-4o", Usage(2006, 300, 1920), (86 * 2.5 + 1920 * 1.25 + 300 * 10) / M),
    ("gpt-4.1", Usage(1000, 500, 512), (488 * 2 + 512 * 0.5 + 500 * 8) / M),
    ("o3", Usage(1000, 900, 0, 800), (1000 * 2 + 900 * 8) / M),
    ("gpt-5", Usage(1000, 900, 512, 800), (488 * 1.25 + 512 * 0.125 + 900 * 10) / M),
    ("text-embedding-3-large", Usage(1000), 1000 * 0.13 / M),
    (
        "gpt-audio",
        Usage(1100, 600, kinds=TokenKinds(audio_input_tokens=1000, audio_output_tokens=500)),
        (100 * 2.5 + 1000 * 32 + 100 * 10 + 500 * 64) / M,
    ),
    (
        "gpt-realtime",
        Usage(1100, 600, 500, kinds=TokenKinds(0, 1000, 500, 400)),
        (100 * 0.4 + 600 * 32 + 400 * 0.4 + 100 * 16 + 500 * 64) / M,
    ),
    ("gpt-image-1", Usage(50, 4160, kinds=TokenKinds(image_output_tokens=4160)), (50 * 5 + 4160 * 40) / M),
    (
        "gpt-image-1.5",
        Usage(1050, 4160, kinds=TokenKinds(image_input_tokens=1000, image_output_tokens=4160)),
        (50 * 5 + 1000 * 8 + 4160 * 32) / M,
    ),
    ("gpt-4o", Usage(1000, 10, kinds=TokenKinds(image_input_tokens=900)), (1000 * 2.5 + 10 * 10) / M),
    (
        "gpt-6-sol",
        Usage(20000, 100, 8000, kinds=TokenKinds(cache_write_tokens=11000)),
        (1000 * 2 + 8000 * 0.2 + 11000 * 2.5 + 100 * 10) / M,
    ),
    ("whisper-1", Usage(kinds=TokenKinds(audio_seconds=9.0)), 0.36 * 9 / 3600),
    # what the list has no price for
    ("gpt-4o-audio-preview", Usage(1100, 600, kinds=TokenKinds(audio_input_tokens=1000)), None),
    ("gpt-4o", Usage(1100, 600, kinds=TokenKinds(cache_write_tokens=1000)), None),
    ("gpt-4o", Usage(kinds=TokenKinds(audio_seconds=9.0)), None),
]


@pytest.mark.parametrize(("model", "usage", "cost_usd"), HAND_COMPUTED)
def test_each_kind_of_token_costs_what_the_list_says_of_it(model, usage, cost_usd):
    """A kind without a price makes the cost unknown, never a wrong number."""
    found = look_up("openai", model, NOW).cost_usd(usage, NOW)
    assert found == (None if cost_usd is None else pytest.approx(cost_usd, rel=1e-9))


# the price's name in the list, what the list calls the tokens, what we call them
ALL_KINDS = (
    ("input_audio_mtok", "input_audio_tokens", "audio_input_tokens"),
    ("output_audio_mtok", "output_audio_tokens", "audio_output_tokens"),
    ("input_image_mtok", "input_image_tokens", "image_input_tokens"),
    ("output_image_mtok", "output_image_tokens", "image_output_tokens"),
    ("cache_write_mtok", "cache_write_tokens", "cache_write_tokens"),
)


def _models_with(price):
    from genai_prices.data import providers

    return [
        (provider.id, model.id)
        for provider in providers
        for model in provider.models
        if getattr(model.get_prices(MOMENT), price, None) is not None
    ]


@pytest.mark.parametrize(("price", "theirs", "ours"), ALL_KINDS)
def test_kinds_cost_what_the_librarys_own_arithmetic_says(price, theirs, ours):
    """Every model of every provider's list that has a price for the kind, up to forty."""
    compared = 0
    for provider, model in _models_with(price)[:40]:
        listed = look_up(provider, model, NOW)
        if listed is None:
            continue
        counts = {"input_tokens": 900, "output_tokens": 700, theirs: 600}
        wanted = calc_price(ListUsage(**counts), model, provider_id=provider, genai_request_timestamp=MOMENT)
        cost = listed.cost_usd(Usage(900, 700, kinds=TokenKinds(**{ours: 600})), NOW)
        assert cost == pytest.approx(float(wanted.total_price), rel=1e-9), (provider, model, ours)
        compared += 1
    assert compared >= 2


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the list for Python 3.10 has no service tiers")
@pytest.mark.parametrize(
    ("tier", "factor"), [("default", 1.0), ("flex", 0.5), ("priority", 1.8), ("x", None)]
)
def test_the_service_tier_has_its_own_price_or_none(tier, factor):
    """Flex costs half, priority more; of a tier that the list does not know nothing is said."""
    listed = look_up("openai", "gpt-5-mini", NOW, tier)
    full = (1000 * 0.25 + 1000 * 2) / M
    found = None if listed is None else listed.cost_usd(Usage(1000, 1000), NOW)
    assert found == (None if factor is None else pytest.approx(full * factor, rel=1e-9))
