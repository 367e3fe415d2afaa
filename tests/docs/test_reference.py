"""The reference says what the code does: tables, names, examples."""

import re
import runpy
import sys
from configparser import ConfigParser
from pathlib import Path

import orjson
import pytest
from twisted.internet.task import Clock

import openai_proxy.daemon.service  # noqa: F401  # defines every error
from openai_proxy.exchange.errors import ProxyError
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.record import Exchange
from openai_proxy.observe.exchange_log.line import exchange_line
from openai_proxy.observe.exchange_log.options import _CHOICES, _LOCAL, _SPOOL
from openai_proxy.observe.factories import NONE, known_factories
from openai_proxy.observe.interfaces import ObserverContext
from openai_proxy.observe.lines.record import metadata
from openai_proxy.observe.metrics.budgets import BudgetReading
from openai_proxy.observe.metrics.daemon_state import DaemonState
from openai_proxy.observe.metrics.prometheus import PrometheusObserver
from openai_proxy.settings import load_settings, settings_reference

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}


def page(name):
    """Return the text of a page of the reference."""
    return PAGES[f"docs/reference/{name}.md"]


def errors(base=ProxyError):
    """Return the errors that the proxy makes, without those that only others derive from."""
    found = [base, *(each for sub in base.__subclasses__() for each in errors(sub))]
    return [each for each in found if each.__module__.startswith("openai_proxy.")]


def test_the_tables_of_settings_are_the_codes():
    """Names, variables and defaults on the page are those that work."""
    rewritten = runpy.run_path(str(ROOT / "scripts" / "reference_tables.py"))["rewritten"]
    assert rewritten(page("settings")) == page("settings"), "run: python scripts/reference_tables.py"


def test_each_table_of_settings_has_an_example():
    """Whoever looks a setting up sees how it is written, in its own table of the TOML file."""
    chapters = re.split(r"(?m)^## ", page("settings"))
    tables = {
        found[1]: tomllib.loads(found[2])
        for chapter in chapters
        if (found := re.match(r"`?\[*([\w.]+).*?```toml\n(.*?)```.*?<!-- table", chapter, re.DOTALL))
    }
    assert len(tables) == page("settings").count("<!-- table:")
    for name, example in tables.items():
        for part in name.split(".") if name != "General" else ():
            example = example[part][0] if isinstance(example[part], list) else example[part]
        assert example


def test_every_setting_is_in_the_reference():
    """One that is not in the table cannot be looked up."""
    cell = r"(?:[^|\n]|\\\|)+\|"
    listed = set(re.findall(rf"(?m)^\| `([\w.]+)` \|{cell}{cell}{cell}$", page("settings")))
    arrays = set(re.findall(r"(?m)^## `\[\[([\w.]+)\]\]`", page("settings")))
    assert {row.toml for row in settings_reference()} - listed == arrays


def test_the_table_of_errors_has_every_error_and_no_other():
    """What a client may get is listed, by status, type and code."""
    rows = re.findall(r"\| (\d{3}) \| `(\w+)` \| `(\w+)` \|", page("errors"))
    assert {(int(status), kind, code) for status, kind, code in rows} == {
        (error.status, error.type, error.code) for error in errors() if error.code is not None
    }


def test_the_table_of_metrics_has_every_metric_and_no_other():
    """A dashboard made from the README finds its names on the page."""
    stores = {("cache", "unanswered"): 0, ("limit", "unanswered"): 0}
    context = ObserverContext(
        Clock(),
        store_failures=lambda: stores,
        budgets=lambda: [BudgetReading("alice", 1.0, 0.0, 0.0), BudgetReading("team", 1.0, 0.0, 0.0, True)],
        state=lambda: DaemonState(redis_up=True, spool_bytes=0, certificates={"ssl:8443": 0.0}),
    )
    _, rendered = PrometheusObserver(context).render()
    kept = set(re.findall(r"^# TYPE (openai_proxy_\w+)", rendered.decode(), re.MULTILINE))
    assert set(re.findall(r"^\| `(openai_proxy_\w+)`", page("metrics"), re.MULTILINE)) == kept


def test_the_metrics_that_pages_name_exist():
    """A query copied from a page finds something."""
    table = set(re.findall(r"^\| `(openai_proxy_\w+)`", page("metrics"), re.MULTILINE))
    metrics = table | {"openai_proxy_workers", "openai_proxy_worker_restarts_total", "openai_proxy_plugin"}
    named = {
        re.sub("_(bucket|sum|count)$", "", name)
        for text in PAGES.values()
        for name in re.findall(r"\b(openai_proxy_[a-z_]+)(?=[`{\[ ()])", text)
    }
    assert len(named) > 20
    assert named - metrics == set()


@pytest.mark.parametrize(
    "bound", re.findall(r"(?m)^\| .*? \| ([\d,]+)( \w+)?.*? \| `([\w.]+)`.*\|$", page("endpoints"))
)
def test_the_bounds_of_requests_are_the_defaults(bound):
    """The short table says what the settings say."""
    number, unit, setting = bound
    factor = {" KiB": 1 << 10, " MiB": 1 << 20}.get(unit, 1)
    defaults = {row.toml: row.default for row in settings_reference()}
    assert str(int(number.replace(",", "")) * factor) == defaults[setting]


def test_the_extras_are_those_that_there_are():
    """What a feature needs is installed by the name that the page gives."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = {
        name: re.findall(r"(?m)^([\w-]+)>", value)
        for name, value in setup["options.extras_require"].items()
        if name not in ("all", "docs", "test", "dev")
    }
    rows = re.findall(r"(?m)^\| `(\w+)` \| .*? \| (.*) \|$", PAGES["docs/install.md"])
    assert {name: re.findall(r"`([\w-]+)`", packages) for name, packages in rows} == extras


def test_the_table_of_observers_has_every_built_in_one():
    """Each name that --observer takes is explained."""
    table = page("observers").partition("\n## ")[0]
    built_in = {
        name
        for name, factory in known_factories().items()
        if type(factory).__module__.startswith("openai_proxy.")
    }
    assert set(re.findall(r"^\| `([a-z-]+)", table, re.MULTILINE)) == built_in | {NONE}


def test_the_keys_of_json_and_of_the_exchange_log_are_in_the_reference_in_their_order():
    """Whoever parses the lines finds every key."""
    exchange = Exchange(method="POST", path="/v1/chat/completions", started=0.0, timestamp=0.0)
    exchange.tags, exchange.end_user = (("team", "red"),), "bob"
    for title, record in [
        ("## The object of `json`", metadata(exchange)),
        ("## The exchange log", orjson.loads(exchange_line(exchange, 0))),
    ]:
        table = page("observers").partition(f"\n{title}\n")[2].partition("\n\n```")[0].partition("\n## ")[0]
        names = re.findall(r"(?m)^\| ((?:`\w+`(?:, )?)+) \|", table)
        assert re.findall(r"\w+", " ".join(names)) == list(record)


def test_the_table_of_outcomes_has_every_outcome():
    """A word in the log that is not on the page is a riddle."""
    table = page("observers").partition("\n## Outcomes\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"(?m)^\| `(\w+)` \|", table)) == sorted(each.value for each in Outcome)


def test_every_option_of_the_exchange_log_is_in_the_reference():
    """One that is not listed is found by nobody."""
    table = page("observers").partition("| option | meaning |")[2]
    rows = re.findall(r"(?m)^\| (.*?) \|", table)
    assert set(re.findall(r"`(\w+)=", " ".join(rows))) == {"dir", *_CHOICES, *_LOCAL, *_SPOOL}


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(example, id=f"{name}-{number}")
        for name, text in PAGES.items()
        for number, example in enumerate(re.findall(r"(?s)```toml\n(.*?)```", text), 1)
    ],
)
def test_the_examples_of_configuration_load(example, tmp_path):
    """A configuration copied from a page starts."""
    (tmp_path / "openai-proxy.toml").write_text(example, encoding="utf-8")
    load_settings({"config": "openai-proxy.toml"}, {"OPENAI_API_KEY": "sk-upstream"}, tmp_path)
