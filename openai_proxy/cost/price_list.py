"""The public price lists of genai-prices, as it is installed.

Nothing is fetched at run time: its updater is never started. Imported by
`build` only where the package is there.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from attrs import frozen
from genai_prices import Usage as ListUsage
from genai_prices import calc_price
from genai_prices.data import providers

from ..core.exchange import Usage
from ..core.prices import Price

DEFAULT_PROVIDER = "openai"
_PROBE = Usage(input_tokens=9_000, output_tokens=700, cached_tokens=2_000)
_NAME_LENGTH = 200
"""Longer model names are nobody's, and not worth a search."""


def is_provider(name: str) -> bool:
    """Tell whether there is a list of that name."""
    return any(provider.id == name for provider in providers)


def provider_of(base_url: str) -> str:
    """Return whose prices hold at an upstream: by its host, `openai` where that is nobody's known."""
    found = (provider.id for provider in providers if re.match(provider.api_pattern, base_url))
    return next(found, DEFAULT_PROVIDER)


@frozen
class Listed:
    """What a list says of a model at some time.

    `price` is None where the list's own arithmetic is needed for all of it.
    """

    provider: str
    model: str
    price: Price | None

    def cost_usd(self, usage: Usage, timestamp: float) -> float:
        if self.price is not None and self.price.holds_for(usage):
            return self.price.cost_usd(usage)
        return float(_calculate(self.provider, self.model, usage, timestamp).total_price)


def look_up(provider: str, model: str, timestamp: float) -> Listed | None:
    """Return what the list of `provider` says of `model`; None where it has no price. Costs 0.2 ms."""
    if len(model) > _NAME_LENGTH:
        return None
    try:
        found = _calculate(provider, model, _PROBE, timestamp)
    except (LookupError, ValueError):
        return None
    if all(getattr(found.model_price, name, None) is None for name in ("input_mtok", "output_mtok")):
        return None  # sold by the minute or the image, not by the token
    price = _plain_price(found.model_price)
    if price is not None and abs(price.cost_usd(_PROBE) - float(found.total_price)) > 1e-9:
        price = None  # it counts something else too
    return Listed(provider, model, price)


def _calculate(provider: str, model: str, usage: Usage, timestamp: float) -> Any:
    return calc_price(
        ListUsage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=min(usage.cached_tokens, usage.input_tokens),
            output_tokens=usage.output_tokens,
        ),
        model,
        provider_id=provider,
        genai_request_timestamp=datetime.fromtimestamp(timestamp, timezone.utc),
    )


def _plain_price(listed: Any) -> Price | None:
    """Return the list's prices of tokens as numbers, up to where a higher tier begins."""
    numbers: list[float | None] = []
    starts: list[int] = []
    for name in ("input_mtok", "output_mtok", "cache_read_mtok"):
        value = getattr(listed, name, None)
        starts += [int(tier.start) for tier in getattr(value, "tiers", ())]
        value = getattr(value, "base", value)
        if value is not None and not isinstance(value, Decimal):
            return None
        numbers.append(None if value is None else float(value))
    given, made, cached = numbers
    return Price(given or 0.0, made or 0.0, cached, min(starts) if starts else None)
