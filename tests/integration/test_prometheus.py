"""What deploy/ asks of Prometheus, asked of a real one that has scraped the daemon."""

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml
from world.client import Client
from world.daemon import configured
from world.pages import get_json, metrics, total
from world.requests import post
from world.scripts import answer, failure, in_turn
from world.services import ServiceProcess
from world.upstream import Upstream
from world.waiting import eventually
from world.world import serving

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
REFERENCE = (DEPLOY.parent / "docs" / "reference" / "metrics.md").read_text()
EMPTY_HERE = ("group_budget", "circuit_open", "circuit_changes")
"""Nothing of these is there in a daemon without groups whose upstreams work."""
TOML = """
[cache]
url = "memory:"
[[keys]]
name = "alice"
key = "sk-alice"
budget_usd = 50.0
[[keys]]
name = "bob"
key = "sk-bob"
[keys.limits]
requests_per_minute = 1
[[cost.prices]]
match = "*"
input_usd_per_million = 1000.0
output_usd_per_million = 1000.0
[[upstreams]]
name = "first"
base_url = "{0}"
api_key = "sk-upstream"
[[upstreams]]
name = "second"
base_url = "{1}"
api_key = "sk-upstream"
priority = 2
"""


def expressions(node):
    """Yield every query of a dashboard."""
    if isinstance(node, dict):
        if "expr" in node:
            yield node["expr"]
        for each in node.values():
            yield from expressions(each)
    elif isinstance(node, list):
        for each in node:
            yield from expressions(each)


def rules():
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    return group["rules"]


def with_values(expression):
    """Return a query as Grafana sends it."""
    for name, value in (
        ("__rate_interval", "1m"),
        ("__range", "1m"),
        ("job", ".+"),
        ("model", ".+"),
        ("upstream", ".+"),
    ):
        expression = expression.replace(f"${name}", value)
    assert "$" not in expression
    return expression


class Prometheus(ServiceProcess):
    """Scrapes one daemon each second."""

    def start(self, directory, port):
        assert shutil.which("prometheus"), "apt-get install prometheus (scripts/setup test does it)"
        scrape = {"job_name": "openai-proxy", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [scrape],
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        with (directory / "prometheus.log").open("wb") as log:
            self._run(
                [
                    "prometheus",
                    f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )

    def ask(self, path, **arguments):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url) as answered:
                return json.load(answered)["data"]
        except OSError:
            return None

    def value(self, expression):
        """Return the one value of a query; None if there is none yet."""
        found = self.ask("query", query=expression)
        return float(found["result"][0]["value"][1]) if found and found["result"] else None


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    """Run a daemon under load and a Prometheus that has scraped what it counted."""
    directory = tmp_path_factory.mktemp("prometheus")
    first, second = Upstream(), Upstream()
    second.script = answer()
    prometheus = Prometheus()
    env = {"OBSERVERS": "none", "RETRY__MAX_RETRIES": "1"}
    try:
        toml = TOML.format(first.url, second.url)
        with serving(directory, upstream=first, env=env, **configured(directory, toml)) as world:
            prometheus.start(directory, world.port)
            assert eventually(lambda: prometheus.value("up") == 1)
            for _ in range(2):
                first.script = in_turn(failure(b"503 Busy"), breaks_off, answer())
                load(world.port)
                ended = total(metrics(world.port), "openai_proxy_requests_total")
                assert eventually(lambda: prometheus.value("sum(openai_proxy_requests_total)") == ended)  # noqa: B023
            yield world, prometheus
    finally:
        prometheus.kill()
        second.close()
    assert second.errors == []


def breaks_off(call):
    call.read_body()
    call.reset()


def load(port):
    with Client(port) as client:
        for key in ("sk-alice", "sk-alice", "sk-bob", "sk-bob"):
            for path, document in (
                ("chat/completions", {"model": "gpt-4o-mini", "messages": []}),
                ("chat/completions", {"model": "gpt-4o-mini", "messages": [], "stream": True}),
                ("embeddings", {"model": "text-embedding-3-small", "input": "x"}),
            ):
                client.send(post(key, document, f"/v1/{path}"))
                client.response()


def test_rules_are_rules():
    """As Prometheus' own tool says."""
    checked = subprocess.run(
        ["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_stands_in_the_reference_with_what_to_do():
    """The same queries, in the same order."""
    table = REFERENCE.partition("## What to alert on")[2]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines() if line.startswith("| ")][1:]
    documented = [(row[1].strip(" `").replace("\\|", "|"), row[2].strip()) for row in rows]
    assert [(rule["expr"], rule["for"]) for rule in rules()] == documented


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_dashboards_are_whole_and_ask_for_what_there_is(file):
    """Panels have a place of their own, and names of metrics that the reference lists; nothing here renders them."""
    board = json.loads(file.read_text())
    assert board["schemaVersion"] >= 36
    assert {"uid", "title", "panels", "templating", "time"} <= set(board)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in board["panels"]:
        grid = panel["gridPos"]
        cells = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["targets"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    variables = {each["name"] for each in board["templating"]["list"]}
    assert set(re.findall(r"\$(?!__)(\w+)", " ".join(expressions(board)))) <= variables


def test_every_metric_is_one_of_the_proxys():
    """A name that was changed would leave an empty panel, or an alert that never comes."""
    asked = [rule["expr"] for rule in rules()]
    asked += [each for file in DASHBOARDS for each in expressions(json.loads(file.read_text()))]
    names = {name for each in asked for name in re.findall(r"openai_proxy_\w+", each)}
    documented = set(re.findall(r"openai_proxy_\w+", REFERENCE.partition("## What to alert on")[0]))
    assert {re.sub(r"_bucket$", "", name) for name in names} <= documented


def test_every_query_finds_something(scraped):
    """All panels have data under load, but for what is not there."""
    _, prometheus = scraped
    for file in DASHBOARDS:
        for each in expressions(json.loads(file.read_text())):
            found = prometheus.ask("query", query=with_values(each))
            assert found is not None, each
            assert found["result"] or any(name in each for name in EMPTY_HERE), each
    assert eventually(
        lambda: all(
            rule["health"] == "ok" for group in prometheus.ask("rules")["groups"] for rule in group["rules"]
        )
    )
    [group] = prometheus.ask("rules")["groups"]
    assert len(group["rules"]) == len(rules())


def test_the_numbers_are_the_daemons_own(scraped):
    """What Prometheus sums is what the daemon counted, and what the operator sees."""
    world, prometheus = scraped
    page = metrics(world.port)
    for name in (
        "requests_total",
        "tokens_total",
        "cost_usd_total",
        "rate_limited_total",
        "upstream_errors_total",
    ):
        assert total(page, f"openai_proxy_{name}") > 0
        assert prometheus.value(f"sum(openai_proxy_{name})") == pytest.approx(
            total(page, f"openai_proxy_{name}")
        )
    usage = get_json(world.port, "/admin/usage")
    assert prometheus.value("sum(openai_proxy_cost_usd_total)") == pytest.approx(usage["total"]["cost_usd"])
    [budget] = usage["budgets"]
    assert prometheus.value('openai_proxy_budget_spent_usd{key="alice"}') == pytest.approx(
        budget["spent_usd"]
    )
    alerts = prometheus.ask("alerts")["alerts"]
    assert [each for each in alerts if each["state"] == "firing"] == []
