"""What model tokens cost: prices and the arithmetic on them. Pure.

US dollars everywhere. A price that nobody knows is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from attrs import frozen

from .exchange import Usage

PER_MILLION = 1_000_000


@frozen
class Price:
    """Dollars per million model tokens of one model.

    `cached_input` is the price of those input tokens that the upstream had
    in its own prompt cache; None means that of `input`. `holds_up_to` are
    the input tokens up to which this is the price, None without a bound.
    """

    input: float
    output: float = 0.0
    cached_input: float | None = None
    holds_up_to: int | None = None

    def cost_usd(self, usage: Usage) -> float:
        """Return what `usage` costs; reasoning tokens are part of the output."""
        given, cached = usage.input_tokens, usage.cached_tokens
        if cached > 0 and self.cached_input is not None:
            cached = min(cached, given)
            total = (given - cached) * self.input + cached * self.cached_input
        else:
            total = given * self.input
        total += usage.output_tokens * self.output
        return total / PER_MILLION if total > 0.0 else 0.0

    def holds_for(self, usage: Usage) -> bool:
        """Tell whether this is the price of a request with so much input."""
        return self.holds_up_to is None or usage.input_tokens <= self.holds_up_to


@frozen
class OwnPrice:
    """A price of the configuration: `match` is a model's name or a glob."""

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
