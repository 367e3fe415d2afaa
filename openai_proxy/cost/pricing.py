"""Determine the price of exchanges, and of requests before they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from attrs import frozen

from ..exchange.bounded_memo import BoundedMemo
from ..exchange.record import Exchange
from ..exchange.usage import Usage
from ..policies.batches.state import per_request
from ..policies.routing.table import RoutingTable
from ..policies.usage.answer_labels import STANDARD_TIERS
from .prices import OwnPrice, Price, find_price

KEPT_S = 60.0
"""How long a price is cached before it is looked up again: some prices change by the hour."""
_MOST_MODELS = 1000
"""The most model names that are cached, because clients choose them."""
_LONGEST_MODEL = 256
"""Longer names are not cached, because clients choose them."""
_MOST_WARNINGS = 200
_ONE = Usage(1, 1)
BATCH_TIER = "batch"
BATCH_FACTOR = 0.5


class PricedModel(Protocol):
    """The entry of a list for one model."""

    @property
    def price(self) -> Price | None: ...

    def cost_usd(self, usage: Usage, timestamp: float) -> float | None:
        """Return the cost of `usage`; None if a part of it has no price."""
        ...


LookUp = Callable[[str, str, float, "str | None"], "PricedModel | None"]
"""Takes provider, model, the time in seconds since the epoch and the answer's service tier."""


@frozen
class _CachedPrice:
    """A cached look-up for a model at an upstream in a service tier, and when it expires."""

    until: float
    price: Price | None
    listed: PricedModel | None = None
    factor_tier: str | None = None
    """The tier whose factor applies to `price`; None for the standard one."""


class Pricing:
    """Prices by model and upstream; configured prices take precedence over the lists.

    `warn` is called once for each model that was used without a price.
    `providers` names the list for each upstream. Configured prices match the
    client's name for the model, then the upstream's; lists are searched by the
    upstream's name. An exchange takes 1 µs here, the first one of a model in a
    minute 0.2 ms.
    """

    def __init__(
        self,
        own: Sequence[OwnPrice] = (),
        look_up: LookUp | None = None,
        providers: Mapping[str, str] | None = None,
        table: RoutingTable | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._own = tuple(own)
        self._look_up = look_up
        self._providers = dict(providers or {})
        self._table = table
        self._answered: BoundedMemo[tuple[str, str], str] = BoundedMemo(_MOST_MODELS)
        """By upstream and requested name: the model that answered."""
        self._warn = warn
        self._warned: set[str] = set()
        self._cached: BoundedMemo[tuple[str | None, str, str | None], _CachedPrice] = BoundedMemo(
            _MOST_MODELS
        )

    def settle(self, exchange: Exchange) -> None:
        """Set the cost of an ended exchange; it stays None if there is no price. Idempotent.

        A request that named no model (because a stored prompt does) has the
        price of the model that answered.
        """
        usage, model = exchange.usage, exchange.model or exchange.answered_model
        if usage is None or model is None or exchange.cost_usd is not None:
            return
        if exchange.answered_model is not None and exchange.model is not None:
            self._learn_answered(exchange.upstream, model, exchange.answered_model)
        cost_usd = self.cost_usd(
            model, exchange.upstream, usage, exchange.timestamp, tier=exchange.service_tier
        )
        if cost_usd is None:
            self._warn_of(model)
        else:
            # round(cost_usd, 12) in half of its time: the quotient is the float nearest to that number of units
            exchange.cost_usd = round(cost_usd * 1e12) / 1e12 if cost_usd < 1000.0 else round(cost_usd, 12)

    def is_priced(self, model: str, upstream: str | None, timestamp: float) -> bool:
        """Return whether there is a price for a model at an upstream; None means the one that will probably serve it."""
        cached = self._cached.get((upstream, model, None))
        if (
            cached is not None
            and timestamp < cached.until
            and cached.price is not None
            and not cached.price.holds_up_to
        ):
            return True  # nearly always
        return self.cost_usd(model, upstream, _ONE, timestamp) is not None

    def lacks_price(self, exchange: Exchange) -> bool:
        """Return whether there is no price for the model that was asked for, or none was named."""
        model = exchange.model
        return model is None or not self.is_priced(model, exchange.upstream, exchange.timestamp)

    def may_be_priced(self, model: str, timestamp: float) -> bool:
        """Return whether there is a price, or may be one once an answer has named its model.

        At Azure, requests name a deployment, which does not say the model.
        """
        if self.is_priced(model, None, timestamp):
            return True
        upstream = self._upstream_of(model)
        return self._providers.get(upstream) == "azure" and (upstream, model) not in self._answered

    def _upstream_of(self, model: str) -> str:
        if self._table is None:
            return "default"
        return self._table.candidates(self._table.find(model))[0].name

    def _learn_answered(self, upstream: str | None, model: str, answered: str) -> None:
        """Remember the model that answers under a name without a price; its price applies."""
        name = upstream or "default"
        if self._answered.get((name, model)) == answered or len(model) > _LONGEST_MODEL:
            return
        self._answered.remember((name, model), answered, len(model))
        for key in [key for key in self._cached if key[1] == model]:
            del self._cached[key]

    def _warn_of(self, model: str) -> None:
        """Warn once about a model, or a kind of its tokens, without a price; the number of names is bounded."""
        if self._warn is not None and model not in self._warned and len(self._warned) < _MOST_WARNINGS:
            if len(model) <= _LONGEST_MODEL:
                self._warned.add(model)
            self._warn(model)

    def cost_usd(
        self, model: str, upstream: str | None, usage: Usage, timestamp: float, tier: str | None = None
    ) -> float | None:
        """Return the cost of `usage` of a model at an upstream; None without a price.

        `upstream` None means the one that will probably serve it; `tier` is
        the service tier that the answer names.
        """
        if tier in STANDARD_TIERS:
            tier = None
        cached = self._cached.get((upstream, model, tier))
        if cached is None or timestamp >= cached.until:
            cached = self._learn(upstream, model, timestamp, tier)
        price = cached.price
        if price is not None and (price.holds_up_to is None or usage.input_tokens <= price.holds_up_to):
            if usage.kinds is None and cached.factor_tier is None:
                return price.cost_usd(usage)
            return price.maybe_cost_usd(usage, cached.factor_tier)
        return None if cached.listed is None else cached.listed.cost_usd(usage, timestamp)

    def batch_cost_usd(
        self, model: str, usage: Usage, requests: int, timestamp: float, upstream: str | None = None
    ) -> float | None:
        """Return the cost of this number of requests of a batch with `usage` together; None without a price.

        It is half of the usual price, unless the price has a factor for the
        service tier `batch`, or the list has that tier.
        """
        each, rest = per_request(usage, requests)
        for tier, factor in ((BATCH_TIER, 1.0), (None, BATCH_FACTOR)):
            costs = [self.cost_usd(model, upstream, part, timestamp, tier) for part in (each, rest)]
            if costs[0] is not None and costs[1] is not None:
                times = 1 if each is usage else requests
                return (costs[0] * times + costs[1]) * factor
        return None

    def _learn(self, upstream: str | None, model: str, timestamp: float, tier: str | None) -> _CachedPrice:
        cached = self._find(upstream, model, timestamp, tier)
        self._cached.remember((upstream, model, tier), cached, len(model) + len(tier or ""))
        return cached

    def _find(self, upstream: str | None, model: str, timestamp: float, tier: str | None) -> _CachedPrice:
        name = model
        if self._table is not None:
            route = self._table.find(model)
            name = (route.upstream_model if route is not None else None) or model
            if upstream is None:
                upstream = self._table.candidates(route)[0].name
        names = [model, name]
        answered = self._answered.get((upstream or "default", model))
        if answered is not None:
            names.append(answered)
        own = find_price(self._own, names)
        if own is not None:
            return _CachedPrice(float("inf"), own, factor_tier=tier)
        provider = self._providers.get(upstream or "default")
        if self._look_up is None or provider is None:
            return _CachedPrice(float("inf"), None)
        listed = self._look_up(provider, name, timestamp, tier)
        if listed is None and answered is not None:
            listed = self._look_up(provider, answered, timestamp, tier)
        return _CachedPrice(timestamp + KEPT_S, None if listed is None else listed.price, listed)
