"""Which price holds for an exchange."""

import fakes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.cost.prices import OwnPrice, Price
from openai_proxy.cost.pricing import KEPT_S, Pricing
from openai_proxy.exchange.usage import Usage
from openai_proxy.policies.routing.table import ModelRoute, RoutingTable, Upstream


class Listed:
    def __init__(self, price):
        self.price = price

    def cost_usd(self, usage, timestamp):
        return 99.0


class Lists:
    """A look-up that remembers what it was asked."""

    def __init__(self, **prices):
        self.prices = prices
        self.asked = []
        self.tiers = []

    def __call__(self, provider, model, timestamp, tier):
        self.tiers.append(tier)
        self.asked.append((provider, model))
        price = self.prices.get(model)
        return None if price is None else Listed(price)


def settled(pricing, **fields):
    exchange = fakes.exchange(timestamp=fields.pop("timestamp", 0.0), path="/x", upstream="default", **fields)
    pricing.settle(exchange)
    return exchange.cost_usd


MILLION = Usage(1_000_000, 0)
TOKENS = st.integers(0, 10**7)
DOLLARS = st.decimals(0, 500, places=4).map(float)


def test_own_prices_go_before_the_lists():
    """What the configuration says holds."""
    pricing = Pricing([OwnPrice("m*", Price(3.0))], Lists(model=Price(2.0)), {"default": "openai"})
    assert settled(pricing, model="model", usage=MILLION) == 3.0


def test_a_model_that_nobody_knows_has_no_cost():
    """Unknown is not free."""
    pricing = Pricing([], Lists(), {"default": "openai"})
    assert settled(pricing, model="m", usage=MILLION) is None
    assert settled(Pricing([]), model="m", usage=MILLION) is None


@pytest.mark.parametrize("fields", [{"model": "m"}, {"usage": MILLION}])
def test_without_usage_or_model_there_is_no_cost(fields):
    """A list of files, an upload."""
    assert settled(Pricing([OwnPrice("*", Price(1.0))]), **fields) is None


def test_a_cost_that_is_known_stays():
    """An answer from the cache costs nothing, whatever its model."""
    pricing = Pricing([OwnPrice("*", Price(1.0))])
    assert settled(pricing, model="m", usage=MILLION, cost_usd=0.0) == 0.0


def test_lists_are_asked_once_a_minute():
    """Some prices change by the hour; a look-up costs more than an exchange may."""
    lists = Lists(m=Price(2.0))
    pricing = Pricing([], lists, {"default": "openai"})
    for timestamp in (0.0, KEPT_S - 1, KEPT_S):
        assert settled(pricing, model="m", usage=MILLION, timestamp=timestamp) == 2.0
    assert lists.asked == [("openai", "m")] * 2


def test_a_higher_tier_is_reckoned_by_the_list():
    """The quick arithmetic holds up to some input only."""
    pricing = Pricing([], Lists(m=Price(2.0, holds_up_to=999_999)), {"default": "openai"})
    assert settled(pricing, model="m", usage=MILLION) == 99.0
    assert settled(pricing, model="m", usage=Usage(500_000)) == 1.0


def test_each_upstream_has_its_list_and_its_name_of_the_model():
    """An alias costs as much as its model, where it is served."""
    table = RoutingTable(
        [Upstream("azure", "https://a"), Upstream("groq", "https://g", priority=1)],
        [ModelRoute("fast", "groq", "qwen3")],
    )
    lists = Lists(qwen3=Price(0.5))
    pricing = Pricing([], lists, {"azure": "azure", "groq": "groq"}, table)
    assert pricing.cost_usd("fast", "groq", MILLION, 0.0) == 0.5
    assert pricing.cost_usd("fast", None, MILLION, 0.0) == 0.5
    assert pricing.cost_usd("gpt-4o", None, MILLION, 0.0) is None
    assert lists.asked == [("groq", "qwen3"), ("groq", "qwen3"), ("azure", "gpt-4o")]


def test_own_prices_match_the_upstreams_name_too():
    """One entry for the model serves all its aliases."""
    table = RoutingTable([Upstream("u", "https://u")], [ModelRoute("fast", None, "qwen3")])
    assert Pricing([OwnPrice("qwen3", Price(1.0))], table=table).cost_usd("fast", "u", MILLION, 0.0) == 1.0


def test_names_that_clients_make_up_are_forgotten():
    """Memory does not grow with them."""
    pricing = Pricing([OwnPrice("*", Price(1.0))])
    for number in range(3000):
        settled(pricing, model=f"m{number}", usage=MILLION)
    assert len(pricing._cached) <= 1000


@given(TOKENS, TOKENS, TOKENS, DOLLARS, DOLLARS, DOLLARS)
def test_costs_have_twelve_decimals(given_tokens, made, cached, given_usd, made_usd, cached_usd):
    """No tail of binary fractions in the logs."""
    price, usage = Price(given_usd, made_usd, cached_usd), Usage(given_tokens, made, cached)
    assert settled(Pricing([OwnPrice("m", price)]), model="m", usage=usage) == round(
        price.cost_usd(usage), 12
    )


@pytest.mark.parametrize(("size", "asked"), [(256, 1), (257, 2)])
def test_long_names_are_not_remembered(size, asked):
    """A name may be as long as a body: it is looked up each time."""
    lists = Lists()
    pricing = Pricing(look_up=lists, providers={"default": "openai"})
    for _ in range(2):
        settled(pricing, model="m" * size, usage=MILLION)
    assert len(lists.asked) == asked


def test_the_tier_of_the_answer_is_priced_apart():
    """A list is asked for each tier; own prices have a factor for it, or no price."""
    lists = Lists(m=Price(2.0))
    pricing = Pricing([OwnPrice("own", Price(1.0, tier_factors={"flex": 0.5}))], lists, {"default": "openai"})
    for tier in (None, "default", "flex", "flex"):
        settled(pricing, model="m", usage=MILLION, service_tier=tier)
    assert lists.tiers == [None, "flex"]
    assert settled(pricing, model="own", usage=MILLION, service_tier="flex") == 0.5
    assert settled(pricing, model="own", usage=MILLION, service_tier="priority") is None


def test_a_model_without_a_price_is_warned_of_once():
    """Not at each request; and strangers cannot fill the log with names."""
    warned = []
    pricing = Pricing([OwnPrice("priced", Price(1.0))], warn=warned.append)
    for model in ("house", "house", "priced", *(f"m{number}" for number in range(300))):
        settled(pricing, model=model, usage=MILLION)
    assert warned[:2] == ["house", "m0"]
    assert len(warned) == 200
    assert (pricing.is_priced("priced", None, 0.0), pricing.is_priced("house", None, 0.0)) == (True, False)
    lacking = [
        pricing.lacks_price(fakes.exchange(path="/x", model=model)) for model in ("priced", "house", None)
    ]
    assert lacking == [False, True, True]


def test_the_model_that_answers_is_priced_where_the_name_asked_for_has_no_price():
    """At Azure a deployment has a name of its own; from the first answer on its estimates have a price too."""
    pricing = Pricing(look_up=Lists(**{"gpt-4o-2024-11-20": Price(2.0)}), providers={"default": "azure"})
    assert pricing.cost_usd("our-model", None, MILLION, 0.0) is None
    assert pricing.may_be_priced("our-model", 0.0)
    cost_usd = settled(pricing, model="our-model", usage=MILLION, answered_model="gpt-4o-2024-11-20")
    assert cost_usd == 2.0
    assert pricing.cost_usd("our-model", "default", MILLION, 1.0) == 2.0
    assert settled(pricing, model="odd", usage=MILLION, answered_model="nobody-knows") is None
    assert not pricing.may_be_priced("odd", 2.0)


def test_a_request_that_names_no_model_costs_what_the_one_does_that_answers():
    """A stored prompt names it; without this such a request was free."""
    pricing = Pricing(look_up=Lists(**{"gpt-4.1": Price(2.0)}), providers={"default": "openai"})
    assert settled(pricing, usage=MILLION, answered_model="gpt-4.1") == 2.0
    assert settled(pricing, usage=MILLION) is None
    assert settled(pricing, usage=MILLION, answered_model="house") is None


def test_a_name_without_a_price_elsewhere_has_none():
    """Only a deployment's name says nothing of the model."""
    assert not Pricing(look_up=Lists(), providers={"default": "openai"}).may_be_priced("m", 0.0)


def test_answers_that_name_many_models_are_not_remembered_for_ever():
    """Whatever an upstream says."""
    pricing = Pricing(look_up=Lists(), providers={"default": "azure"})
    for number in range(2500):
        settled(pricing, model=f"m{number}", usage=MILLION, answered_model="x")
    assert len(pricing._answered) <= 1000


@pytest.mark.parametrize(("factors", "cost_usd"), [({}, 1.5), ({"batch": 0.25}, 0.75)])
def test_a_batch_costs_half_unless_its_price_says_otherwise(factors, cost_usd):
    """As OpenAI and Azure bill it; a factor of one's own takes precedence."""
    pricing = Pricing([OwnPrice("m", Price(3.0, tier_factors=factors))])
    assert pricing.batch_cost_usd("m", MILLION, 7, 0.0) == pytest.approx(cost_usd, abs=1e-12)
    assert pricing.batch_cost_usd("n", MILLION, 7, 0.0) is None


def test_a_batch_is_priced_by_the_size_of_its_requests():
    """The dearer price of long prompts does not hold for many short ones."""
    listed = Listed(Price(2.0, holds_up_to=200_000))
    pricing = Pricing([], lambda *asked: listed if asked[3] is None else None, {"default": "openai"})
    assert pricing.batch_cost_usd("m", MILLION, 10, 0.0) == 1.0
    assert pricing.batch_cost_usd("m", MILLION, 1, 0.0) == 49.5


def test_a_tier_that_the_list_knows_is_the_batchs_price():
    """Whatever half of the usual price would be."""
    pricing = Pricing([], Lists(m=Price(2.0)), {"default": "openai"})
    assert pricing.batch_cost_usd("m", MILLION, 1, 0.0) == 2.0
