"""Whose batches have rules, and what is known of their files over a reload."""

import pytest
from fakes import result_of
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.cost.batch_inputs import FileInputs, RedisInputs
from openai_proxy.cost.build import build_spending
from openai_proxy.daemon.batches import batch_rules, batches
from openai_proxy.daemon.stores import Stores
from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.policies.batches.input import BatchInput
from openai_proxy.settings import SettingsError, load_settings
from openai_proxy.settings.derived import DEFAULT_FILE, state_path

LISTED = """
[[keys]]
name = "alice"
key = "alice-key"
upstream_key = "sk-up"
models = ["m"]
endpoints = ["@metered", "files", "batches"]
"""
PAID = LISTED.replace('models = ["m"]', "budget_usd = 5")


def loaded(directory, toml, **environ):
    (directory / "c.toml").write_text(toml)
    return load_settings({"config": "c.toml"}, environ, directory)


def stores():
    reactor = MemoryReactorClock()
    return Stores(reactor, reactor.seconds)


def built(settings, kept):
    buffered = BufferedBytes(1 << 20)
    spending = build_spending(settings, kept, None, None, buffered)
    return batches(settings, kept, spending, buffered)


@pytest.mark.parametrize(
    ("toml", "found"),
    [
        (LISTED, ("a list of models", True, False)),
        (PAID, ("a budget", False, True)),
        (PAID + 'models = ["m"]', ("a list of models", True, True)),
        (PAID + 'budget_unmeasured = "allow"', ("a budget", False, False)),
        (LISTED.replace('"batches"', '"GET batches"'), None),
        (LISTED.replace("endpoints", "# endpoints"), None),
        (LISTED.replace("models", "# models"), None),
        (LISTED + '[access]\nendpoints = ["@metered"]', None),
    ],
)
def test_keys_with_models_or_a_budget_that_may_run_batches_have_a_rule(tmp_path, toml, found):
    """Nobody else's files are read."""
    settings = loaded(tmp_path, toml)
    rule = batch_rules(settings).get("alice")
    assert (None if rule is None else (rule.rule, rule.lists_models, rule.measures)) == found
    parts = built(settings, stores())
    assert (parts.allow is None, parts.read_file is None) == (found is None, found is None)
    assert parts.settle is not None


def test_files_belong_to_a_key_or_to_its_group(tmp_path):
    """As other stored objects do."""
    grouped = LISTED + 'group = "g"\n'
    assert batch_rules(loaded(tmp_path, grouped))["alice"].owner == "key:alice"
    shared = grouped + '[objects]\nscope = "group"\n'
    assert batch_rules(loaded(tmp_path, shared))["alice"].owner == "group:g"


@pytest.mark.parametrize(
    ("toml", "kept"), [(LISTED, DEFAULT_FILE), (LISTED.replace('"batches"', '"GET batches"'), None)]
)
def test_a_key_with_models_that_may_run_batches_has_a_state_file(tmp_path, toml, kept):
    """Else a restart would refuse what was uploaded before."""
    expected = None if kept is None else tmp_path / kept
    assert state_path(loaded(tmp_path, toml), False) == expected


def test_what_is_known_is_kept_in_redis_else_in_the_file(tmp_path):
    """Redis is for several machines."""
    kept = stores()
    assert isinstance(kept.batch_inputs(tmp_path / "a.sqlite3", None), FileInputs)
    assert isinstance(kept.batch_inputs(tmp_path / "a.sqlite3", "redis://127.0.0.1:1/0"), RedisInputs)


def test_without_a_file_a_reload_forgets_nothing(tmp_path):
    """The process remembers."""
    settings = loaded(tmp_path, LISTED, COST__STATE_FILE="none")
    kept = stores()
    built(settings, kept)
    kept.batch_inputs(None, None).keep("file-1", "key:alice", BatchInput(problem="line 1"))
    built(settings, kept)
    found = result_of(kept.batch_inputs(None, None).find("file-1"))
    assert found == ("key:alice", BatchInput(problem="line 1"))


def test_a_file_that_cannot_be_used_is_named(tmp_path):
    """At the start, in one line."""
    with pytest.raises(SettingsError, match="state_file"):
        built(loaded(tmp_path, LISTED, COST__STATE_FILE="nowhere/state.sqlite3"), stores())
