"""What exchanges cost, from the bytes of an answer to the dollars in the record.

Each row has an answer's usage as its API spells it and the sum written out
by hand from the published prices; if genai-prices can reckon the same
counts, its own arithmetic has to come to the same.
"""

import datetime
import json
import sys
from typing import Any

import fakes
import pytest
from cost.published_prices import PROVIDERS, TABLE, Row
from genai_prices import Usage as ListUsage
from genai_prices import calc_price
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.cost.build import build_spending
from openai_proxy.daemon.stores import Stores
from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.policies.usage.answer_labels import note_document
from openai_proxy.policies.usage.objects import usage_of_document
from openai_proxy.settings import load_settings

MOMENT = datetime.datetime(2026, 11, 2, 12, 0, tzinfo=datetime.timezone.utc)
"""Fixed: some prices of the lists change with the date or the hour."""

OWN = """
[[cost.prices]]
match = "own-text"
input_usd_per_million = 3
output_usd_per_million = 7

[[cost.prices]]
match = "own-all"
input_usd_per_million = 1
output_usd_per_million = 5
cached_usd_per_million = 0.1
cache_write_usd_per_million = 1.25
input_audio_usd_per_million = 40
output_audio_usd_per_million = 80
cached_audio_usd_per_million = 4
input_image_usd_per_million = 8
output_image_usd_per_million = 30
cached_image_usd_per_million = 0.8
audio_usd_per_hour = 0.5
service_tiers = { flex = 0.4, priority = 2.5 }

[[cost.prices]]
match = "gpt-4-house*"
input_usd_per_million = 9
"""

if sys.version_info < (3, 11):  # the last genai-prices for Python 3.10 has no service tiers, and older prices
    LATER = ("davinci-002", "mistral-small-latest")
    TABLE = [
        row for row in TABLE if row.model.startswith("own") or (row.tier is None and row.model not in LATER)
    ]


def by_name(row: Row) -> str:
    return row.name


def settled(row: Row, directory: Any) -> float | None:
    """Return the cost in the record of an exchange that was answered so; prices come from a configuration file."""
    (directory / "c.toml").write_text(OWN)
    settings = load_settings({"config": "c.toml"}, {"OPENAI_API_BASE": row.base_url}, directory)
    reactor = MemoryReactorClock()
    pricing = build_spending(
        settings, Stores(reactor, reactor.seconds), None, None, BufferedBytes(1 << 20)
    ).pricing
    assert pricing is not None
    answer = {"id": "1", "model": row.answered or row.model, "service_tier": row.tier, "usage": row.usage}
    body = json.dumps({name: value for name, value in answer.items() if value is not None}).encode()
    exchange = fakes.exchange(timestamp=MOMENT.timestamp(), model=row.model, upstream="default")
    exchange.usage = usage_of_document(body)

    def note(tier: str | None, model: str | None) -> None:
        exchange.service_tier, exchange.answered_model = tier, model

    note_document(body, row.answered is not None, note)
    pricing.settle(exchange)
    return exchange.cost_usd


@pytest.mark.parametrize("row", TABLE, ids=by_name)
def test_an_answer_costs_what_the_published_prices_say(row, tmp_path):
    """To twelve digits; what has no price has no cost."""
    found = settled(row, tmp_path)
    assert found == (None if row.cost_usd is None else pytest.approx(row.cost_usd, rel=1e-9, abs=1e-12))


@pytest.mark.parametrize("row", [row for row in TABLE if row.listed is not None], ids=by_name)
def test_the_librarys_own_arithmetic_comes_to_the_same(row):
    """The sums above are no copies of our own mistakes."""
    context = {} if row.tier is None else {"price_context": {"service_tier": row.tier}}
    theirs = calc_price(
        ListUsage(**row.listed),
        row.model,
        provider_id=PROVIDERS[row.base_url],
        genai_request_timestamp=MOMENT,
        **context,
    )
    assert float(theirs.total_price) == pytest.approx(row.cost_usd, rel=1e-9)


def test_the_table_is_long_enough():
    """Forty models and shapes, each once."""
    assert len({row.name for row in TABLE}) == len(TABLE) >= 40
