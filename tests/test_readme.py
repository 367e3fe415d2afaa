"""The README says what the code does: tables, names, examples."""

import re
import runpy
from pathlib import Path

import pytest
from twisted.internet.task import Clock

import openai_proxy.daemon.service  # noqa: F401  # defines every error
from openai_proxy.exchange.errors import ProxyError
from openai_proxy.observe.factories import NONE, known_factories
from openai_proxy.observe.interfaces import ObserverContext
from openai_proxy.observe.metrics.budgets import BudgetReading
from openai_proxy.observe.metrics.daemon_state import DaemonState
from openai_proxy.observe.metrics.prometheus import PrometheusObserver
from openai_proxy.settings import load_settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def marked(name):
    """Return what stands in the README between two markers, without the fences of a code block."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", README, re.DOTALL)
    assert found, f"README.md has no part marked {name!r}"
    return [line for line in found[1].splitlines() if line and not line.startswith("```")]


def section(title):
    """Return the text between a heading and the next."""
    return re.split(r"(?m)^##+ ", README.partition(f"\n{title}\n")[2])[0]


def errors(base=ProxyError):
    """Return the errors that the proxy makes, without those that only others derive from."""
    found = [base, *(each for sub in base.__subclasses__() for each in errors(sub))]
    return [each for each in found if each.__module__.startswith("openai_proxy.")]


def test_the_tables_of_settings_are_the_codes():
    """Names, variables and defaults in the README are those that work."""
    rewritten = runpy.run_path(str(ROOT / "scripts" / "readme_tables.py"))["rewritten"]
    assert rewritten(README) == README, "run: python scripts/readme_tables.py"


def test_the_table_of_errors_has_every_error_and_no_other():
    """What a client may get is listed, by status, type and code."""
    rows = re.findall(r"\| (\d{3}) \| `(\w+)` \| `(\w+)` \|", section("## Errors"))
    assert {(int(status), kind, code) for status, kind, code in rows} == {
        (error.status, error.type, error.code) for error in errors() if error.code is not None
    }


def test_the_table_of_metrics_has_every_metric_and_no_other():
    """A dashboard made from the README finds its names on the page."""
    stores = {("cache", "unanswered"): 0, ("limit", "unanswered"): 0}
    context = ObserverContext(
        Clock(),
        store_failures=lambda: stores,
        budgets=lambda: [BudgetReading("alice", 1.0, 0.0, 0.0)],
        state=lambda: DaemonState(redis_up=True, spool_bytes=0, certificates={"ssl:8443": 0.0}),
    )
    _, page = PrometheusObserver(context).render()
    kept = set(re.findall(r"^# TYPE (openai_proxy_\w+)", page.decode(), re.MULTILINE))
    assert set(re.findall(r"^\| `(openai_proxy_\w+)`", section("### Metrics"), re.MULTILINE)) == kept


def test_the_table_of_observers_has_every_built_in_one():
    """Each name that --observer takes is explained."""
    table = section("## Observers: what is recorded where")
    built_in = {
        name
        for name, factory in known_factories().items()
        if type(factory).__module__.startswith("openai_proxy.")
    }
    assert set(re.findall(r"^\| `([a-z-]+)", table, re.MULTILINE)) == built_in | {NONE}


@pytest.mark.parametrize("name", ["run-command", "test-command"])
def test_what_sets_up_and_runs_is_one_command(name):
    """One line is all that a newcomer copies."""
    (line,) = marked(name)
    assert line.startswith("scripts/setup")


@pytest.mark.parametrize("example", re.findall(r"(?s)```toml\n(.*?)```", README))
def test_the_examples_of_configuration_load(example, tmp_path):
    """A configuration copied from the README starts."""
    (tmp_path / "openai-proxy.toml").write_text(example, encoding="utf-8")
    load_settings({"config": "openai-proxy.toml"}, {"OPENAI_API_KEY": "sk-upstream"}, tmp_path)


def test_the_image_is_made_of_what_the_build_context_has():
    """Everything that the distribution is built from passes .dockerignore."""
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in ignore if line.startswith("!")}
    assert {"openai_proxy", "twisted", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"} <= kept
    assert all((ROOT / name).exists() for name in kept)


def test_the_changelog_says_nothing_twice():
    """A merge of two branches that both wrote to it has not brought back lines that were reworded."""
    changes = re.findall(
        r"(?m)^- (.{30})", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n### Added")[2]
    )
    assert sorted({each for each in changes if changes.count(each) > 1}) == []
