"""The prices of model tokens, and the arithmetic on them. Pure.

US dollars everywhere. An unknown price is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from attrs import field, frozen

from ..exchange.usage import TokenKinds, Usage
from ..policies.usage.answer_labels import STANDARD_TIERS

PER_MILLION = 1_000_000
SECONDS_PER_HOUR = 3600


@frozen
class KindPrices:
    """Dollars per million model tokens of each kind other than plain text; None if there is no price.

    `audio_per_hour` is in dollars per hour of sound.
    """

    cache_write: float | None = None
    input_audio: float | None = None
    output_audio: float | None = None
    cached_audio: float | None = None
    input_image: float | None = None
    output_image: float | None = None
    cached_image: float | None = None
    audio_per_hour: float | None = None


_NO_KINDS = KindPrices()


@frozen
class Price:
    """Dollars per million model tokens of one model.

    `cached_input` is the price of input tokens that were in the upstream's
    prompt cache; None means that of `input`. `holds_up_to` is the number of
    input tokens up to which this price applies, None without a bound.
    `tier_factors` multiply the price in a service tier other than the standard
    one; a tier that is missing has no price.
    """

    input: float
    output: float = 0.0
    cached_input: float | None = None
    holds_up_to: int | None = None
    kinds: KindPrices = _NO_KINDS
    tier_factors: Mapping[str, float] = field(factory=dict)

    def cost_usd(self, usage: Usage) -> float:
        """Return the cost of `usage` if all of it is plain text; reasoning tokens are part of the output."""
        given, cached = usage.input_tokens, usage.cached_tokens
        if cached > 0 and self.cached_input is not None:
            cached = min(cached, given)
            total = (given - cached) * self.input + cached * self.cached_input
        else:
            total = given * self.input
        total += usage.output_tokens * self.output
        return total / PER_MILLION if total > 0.0 else 0.0

    def maybe_cost_usd(self, usage: Usage, tier: str | None) -> float | None:
        """Return the cost of `usage` in a service tier; None if a part of it has no price."""
        factor = 1.0 if tier in STANDARD_TIERS else self.tier_factors.get(tier or "")
        cost_usd = self.cost_usd(usage) if usage.kinds is None else self._with_kinds(usage, usage.kinds)
        return None if factor is None or cost_usd is None else cost_usd * factor

    def _with_kinds(self, usage: Usage, used: TokenKinds) -> float | None:
        parts = split(usage, used)
        cached_input = self.input if self.cached_input is None else self.cached_input
        kinds = self.kinds
        counted = (
            (parts.text_in, self.input),
            (parts.text_cached, cached_input),
            (parts.text_out, self.output),
            (parts.cache_write, kinds.cache_write),
            (parts.audio_in, kinds.input_audio),
            (parts.audio_cached, kinds.cached_audio),
            (parts.audio_out, kinds.output_audio),
            (parts.image_in, kinds.input_image),
            (parts.image_cached, kinds.cached_image),
            (parts.image_out, kinds.output_image),
            (used.audio_seconds * PER_MILLION / SECONDS_PER_HOUR, kinds.audio_per_hour),
        )
        total = 0.0
        for count, price in counted:
            if count > 0:
                if price is None:
                    return None
                total += count * price
        return total / PER_MILLION

    def holds_for(self, usage: Usage) -> bool:
        """Return whether this price applies to a request with that much input."""
        return self.holds_up_to is None or usage.input_tokens <= self.holds_up_to


@frozen
class Parts:
    """A usage divided into parts that do not overlap, each of one kind."""

    text_in: int
    text_cached: int
    text_out: int
    cache_write: int
    audio_in: int
    audio_cached: int
    audio_out: int
    image_in: int
    image_cached: int
    image_out: int


def split(usage: Usage, used: TokenKinds) -> Parts:
    """Divide `usage` into its kinds.

    Cached tokens without a stated kind count as text as far as there is text,
    then as sound, then as images. No part is below 0, whatever an upstream
    reports.
    """
    audio = min(used.audio_input_tokens, usage.input_tokens)
    image = min(used.image_input_tokens, usage.input_tokens - audio)
    text = usage.input_tokens - audio - image
    cached = min(usage.cached_tokens, usage.input_tokens)
    audio_cached = min(used.audio_cached_tokens, audio, cached)
    image_cached = min(used.image_cached_tokens, image, cached - audio_cached)
    unsaid = cached - audio_cached - image_cached
    text_cached = min(unsaid, text)
    unsaid -= text_cached
    more_audio = min(unsaid, audio - audio_cached)
    audio_cached += more_audio
    image_cached += min(unsaid - more_audio, image - image_cached)
    written = min(used.cache_write_tokens, text - text_cached)
    audio_out = min(used.audio_output_tokens, usage.output_tokens)
    image_out = min(used.image_output_tokens, usage.output_tokens - audio_out)
    return Parts(
        text_in=text - text_cached - written,
        text_cached=text_cached,
        text_out=usage.output_tokens - audio_out - image_out,
        cache_write=written,
        audio_in=audio - audio_cached,
        audio_cached=audio_cached,
        audio_out=audio_out,
        image_in=image - image_cached,
        image_cached=image_cached,
        image_out=image_out,
    )


@frozen
class OwnPrice:
    """A configured price: `match` is a model's name or a glob."""

    match: str
    price: Price


def find_price(prices: Sequence[OwnPrice], names: Iterable[str]) -> Price | None:
    """Return the price of the first of `names` that has one: by its exact name, else the first glob."""
    for name in names:
        exact = next((own.price for own in prices if own.match == name), None)
        if exact is not None:
            return exact
        matching = next((own.price for own in prices if fnmatchcase(name, own.match)), None)
        if matching is not None:
            return matching
    return None
