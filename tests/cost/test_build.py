"""From settings to prices, budgets and their file."""

import os
from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.cost import build
from openai_proxy.cost.build import build_spending
from openai_proxy.daemon.stores import Stores
from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.usage import Usage
from openai_proxy.settings import SettingsError, load_settings
from openai_proxy.settings.derived import state_path

BUDGET = """
[[keys]]
name = "alice"
key = "alice-key"
upstream_key = "sk-up"
budget_usd = 5
budget_period = "day"
"""
PRICE = """
[[cost.prices]]
match = "m"
input_usd_per_million = 1
"""


def loaded(directory, toml="", **environ):
    (directory / "c.toml").write_text(toml)
    return load_settings({"config": "c.toml"}, environ, directory)


def built(directory, toml="", **environ):
    reactor = MemoryReactorClock()
    stores = Stores(reactor, reactor.seconds)
    return build_spending(loaded(directory, toml, **environ), stores, None, None, BufferedBytes(1 << 20))


def test_with_nothing_configured_prices_are_shown_and_nothing_is_kept(tmp_path):
    """No file, no stage, and requests stay as they are."""
    spending = built(tmp_path)
    assert spending.pricing.cost_usd("gpt-4o-mini", "default", Usage(1_000_000), 1.8e9) > 0
    assert (spending.keep_budget, spending.state_file, spending.needs_usage) == (None, None, False)
    assert not list(tmp_path.glob("*.sqlite3*"))


def test_without_the_extra_there_are_no_prices(tmp_path, monkeypatch):
    """The cost stays unknown; nothing else changes."""
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    assert built(tmp_path).pricing is None
    assert built(tmp_path, PRICE).pricing.cost_usd("m", None, Usage(1_000_000), 0.0) == 1.0
    with pytest.raises(SettingsError, match=r"openai-proxy\[cost\]"):
        built(tmp_path, COST__PROVIDER="openai")
    with pytest.raises(SettingsError, match=r"budget_usd.*openai-proxy\[cost\]"):
        built(tmp_path, BUDGET)


def test_the_provider_is_the_upstreams_or_the_configured_one(tmp_path):
    """Another list can be named, or none."""
    usage, now = Usage(1_000_000), 1.8e9
    groq = built(tmp_path, OPENAI_API_BASE="https://api.groq.com/openai/v1").pricing
    assert groq.cost_usd("gpt-4o-mini", "default", usage, now) is None
    named = built(tmp_path, OPENAI_API_BASE="https://api.groq.com/openai/v1", COST__PROVIDER="openai").pricing
    assert named.cost_usd("gpt-4o-mini", "default", usage, now) > 0
    assert built(tmp_path, COST__PROVIDER="none").pricing is None
    assert not built(tmp_path, COST__PROVIDER="none").needs_usage
    assert built(tmp_path, COST__PROVIDER="openai").needs_usage
    with pytest.raises(SettingsError, match=r"cost\.provider.*'opena'"):
        built(tmp_path, COST__PROVIDER="opena")


def test_budgets_bring_a_stage_a_file_and_usage(tmp_path):
    """What they need is there without being asked for."""
    spending = built(tmp_path, BUDGET)
    assert spending.keep_budget is not None
    assert spending.needs_usage
    assert spending.budgets["alice"].limit_usd == 5.0
    assert spending.budgets["alice"].period == "day"
    assert spending.state_file.path == tmp_path / "openai-proxy.sqlite3"


@pytest.mark.parametrize(
    ("toml", "environ", "name"),
    [
        ("", {}, None),
        ("", {"ADMIN__PORT": "tcp:0"}, None),
        ("", {"ADMIN__TOKEN": "t"}, "openai-proxy.sqlite3"),
        (BUDGET, {}, "openai-proxy.sqlite3"),
        (BUDGET, {"COST__STATE_FILE": "none"}, None),
        ("", {"COST__STATE_FILE": "var/money.db"}, "var/money.db"),
    ],
)
def test_a_file_is_written_for_who_asks_for_it(tmp_path, toml, environ, name):
    """A daemon on a laptop leaves no file."""
    settings = loaded(tmp_path, toml, **environ)
    expected = None if name is None else tmp_path / name
    assert state_path(settings, bool(settings.keys)) == expected


@pytest.mark.parametrize(
    ("toml", "name"),
    [
        ("[[cost.prices]]\nmatch = 'm'\ninput_usd_per_million = -1", "input_usd_per_million"),
        ("[[cost.prices]]\nmatch = 'm'", "input_usd_per_million"),
        ("[[cost.prices]]\nmatch = 'm'\ninput = 1", "input"),
        ("[cost]\nstate = 'x'", "state_file"),
    ],
)
def test_mistakes_in_prices_are_named(tmp_path, toml, name):
    """No price is guessed."""
    with pytest.raises(SettingsError, match=name):
        loaded(tmp_path, toml)


@pytest.mark.parametrize("path", [".", "missing/state.sqlite3"])
def test_a_file_that_can_not_be_there_is_a_mistake_in_the_settings(tmp_path, path):
    """`--check-config` says it, not only the start."""
    with pytest.raises(SettingsError, match=r"cost\.state_file"):
        built(tmp_path, COST__STATE_FILE=path)


def test_a_directory_that_cannot_be_written_is_a_mistake_in_the_settings(tmp_path, monkeypatch):
    """`check` passed it, and the start failed with SQLite's words about a read-only database."""
    (tmp_path / "openai-proxy.sqlite3").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write everywhere
    with pytest.raises(SettingsError, match=r"cost\.state_file.* cannot be written"):
        built(tmp_path, BUDGET)
