"""The public price lists of the installed package genai-prices.

Nothing is fetched at run time: its updater is never started. Imported by
`build` only if the package is there.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from decimal import Decimal
from inspect import signature
from typing import Any

from attrs import frozen
from genai_prices import Usage as ListUsage
from genai_prices import calc_price
from genai_prices.data import providers

from ..exchange.usage import Usage
from ..policies.usage.answer_labels import STANDARD_TIERS
from .prices import KindPrices, Price

DEFAULT_PROVIDER = "openai"
_PROBE = Usage(input_tokens=9_000, output_tokens=700, cached_tokens=2_000)
_NAME_LENGTH = 200
"""Longer names are in no list, and are not searched for."""


def is_provider(name: str) -> bool:
    """Return whether there is a list of that name."""
    return any(provider.id == name for provider in providers)


def provider_of(base_url: str) -> str:
    """Return the list that applies to an upstream, by its host; `openai` if no list has the host."""
    found = (provider.id for provider in providers if re.match(provider.api_pattern, base_url))
    return next(found, DEFAULT_PROVIDER)


@frozen
class Listed:
    """The entry of a list for a model at some time, in some service tier.

    `price` is None if the list's own arithmetic is needed for all of it.
    """

    provider: str
    model: str
    tier: str | None
    price: Price | None

    def cost_usd(self, usage: Usage, timestamp: float) -> float | None:
        """Return the cost of `usage`; None if a part of it has no price here."""
        if self.price is not None and self.price.holds_for(usage):
            return self.price.maybe_cost_usd(usage, None)
        found = _calculate(self.provider, self.model, usage, timestamp, self.tier)
        return float(found.total_price) if _has_prices_for(found.model_price, usage) else None


def look_up(provider: str, model: str, timestamp: float, tier: str | None = None) -> Listed | None:
    """Return the entry of `provider`'s list for `model`; None if it has no price. Takes 0.2 ms.

    `tier` is the service tier that the answer names; a tier that the list does
    not have has no price.
    """
    if len(model) > _NAME_LENGTH:
        return None
    if tier in STANDARD_TIERS:
        tier = None
    try:
        found = _calculate(provider, model, _PROBE, timestamp, tier)
    except (LookupError, ValueError):
        return None
    if tier is not None and not _knows_tier(found.model, tier, timestamp):
        return None
    if all(getattr(found.model_price, name, None) is None for name in _SOLD_BY) and not _is_free(found.model):
        return None  # sold by the character or the image, and no answer has their number
    price = _plain_price(found.model_price)
    if price is not None and abs(price.cost_usd(_PROBE) - float(found.total_price)) > 1e-9:
        price = None  # its price depends on something else too
    return Listed(provider, model, tier, price)


_SOLD_BY = ("input_mtok", "output_mtok", "input_audio_hours", "audio_hours")
_KNOWS_TIERS = "price_context" in signature(calc_price).parameters
"""Releases of genai-prices for Python 3.10 have no prices of service tiers."""


def _is_free(model: Any) -> bool:
    """Return whether the list says that a model costs nothing, and does not only lack its price."""
    return model.id.endswith(":free") or "free of charge" in (model.description or "").lower()


def _calculate(provider: str, model: str, usage: Usage, timestamp: float, tier: str | None) -> Any:
    context = {"price_context": {"service_tier": tier}} if tier is not None and _KNOWS_TIERS else {}
    counts: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "cache_read_tokens": min(usage.cached_tokens, usage.input_tokens),
        "output_tokens": usage.output_tokens,
    }
    if usage.kinds is not None and usage.kinds.cache_write_tokens:
        counts["cache_write_tokens"] = usage.kinds.cache_write_tokens
    return calc_price(
        ListUsage(**counts),
        model,
        provider_id=provider,
        genai_request_timestamp=_moment(timestamp),
        **context,
    )


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, timezone.utc)


def _knows_tier(model: Any, tier: str, timestamp: float) -> bool:
    """Return whether the list has prices of its own for a service tier of a model."""
    return any(
        variant.when == {"service_tier": tier}
        and (variant.constraint is None or variant.constraint.active(_moment(timestamp)))
        for variant in getattr(model, "price_variants", None) or ()
    )


def _has_prices_for(listed: Any, usage: Usage) -> bool:
    """Return whether the list's own arithmetic, for text and cache writes, covers all of `usage`."""
    used = usage.kinds
    if used is None:
        return True
    if used.cache_write_tokens and getattr(listed, "cache_write_mtok", None) is None:
        return False
    return not (used.audio_input_tokens or used.audio_output_tokens or used.audio_seconds)


def _plain_price(listed: Any) -> Price | None:
    """Return the list's prices as numbers, valid up to where a higher tier begins; None if they are not
    numbers.

    Images have the price of text if the list has none for them (OpenAI charges
    images in a chat in this way); sound never has.
    """
    numbers: dict[str, float | None] = {}
    starts: list[int] = []
    for name in _LISTED:
        value = getattr(listed, name, None)
        starts += [int(tier.start) for tier in getattr(value, "tiers", ())]
        value = getattr(value, "base", value)
        if value is not None and not isinstance(value, Decimal):
            return None
        numbers[name] = None if value is None else float(value)
    if getattr(listed, "output_reasoning_mtok", None) is not None:
        return None
    cached, sound = numbers["cache_read_mtok"], numbers["input_audio_mtok"]
    hours = numbers["input_audio_hours"]
    return Price(
        numbers["input_mtok"] or 0.0,
        numbers["output_mtok"] or 0.0,
        cached,
        min(starts) if starts else None,
        KindPrices(
            cache_write=numbers["cache_write_mtok"],
            input_audio=sound,
            output_audio=numbers["output_audio_mtok"],
            cached_audio=_first(numbers["cache_audio_read_mtok"], sound if cached is None else None),
            input_image=_first(numbers["input_image_mtok"], numbers["input_mtok"]),
            output_image=_first(numbers["output_image_mtok"], numbers["output_mtok"]),
            cached_image=_first(
                numbers["cache_image_read_mtok"], numbers["input_image_mtok"], cached, numbers["input_mtok"]
            ),
            audio_per_hour=numbers["audio_hours"] if hours is None else hours,
        ),
    )


_LISTED = (
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "input_audio_mtok",
    "output_audio_mtok",
    "cache_audio_read_mtok",
    "input_image_mtok",
    "output_image_mtok",
    "cache_image_read_mtok",
    "audio_hours",
    "input_audio_hours",
)


def _first(*prices: float | None) -> float | None:
    return next((price for price in prices if price is not None), None)
