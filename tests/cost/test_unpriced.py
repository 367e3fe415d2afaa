"""Budgets that do not see some of their models."""

from openai_proxy.cost.prices import OwnPrice, Price
from openai_proxy.cost.pricing import Pricing
from openai_proxy.cost.unpriced import unpriced_models
from openai_proxy.settings import load_settings

TOML = """
[[keys]]
name = "a"
key = "k-0123456789abcdef"
upstream_key = "sk-up"
budget_usd = 5
models = ["known", "mystery", "any-*"]
[[keys]]
name = "b"
key = "k-1123456789abcdef"
upstream_key = "sk-up"
models = ["mystery"]
"""


def test_models_without_a_price_are_named(tmp_path):
    """Only of keys with a budget; what a glob stands for is not known yet."""
    (tmp_path / "c.toml").write_text(TOML)
    settings = load_settings({"config": "c.toml"}, {}, tmp_path)
    pricing = Pricing([OwnPrice("known", Price(1.0, 2.0))])
    (line,) = unpriced_models(settings, pricing)
    assert "keys[0] (a)" in line
    assert "is known of: mystery;" in line
    assert list(unpriced_models(settings, Pricing([OwnPrice("*", Price(1.0, 2.0))]))) == []
    assert list(unpriced_models(settings, None)) == []
