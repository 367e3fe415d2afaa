"""The metrics page counts what the clients saw."""

import fakes
import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock

from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.usage import Usage
from openai_proxy.observe.interfaces import ObserverContext
from openai_proxy.observe.metrics.budgets import BudgetReading
from openai_proxy.observe.metrics.daemon_state import DaemonState
from openai_proxy.observe.metrics.prometheus import PrometheusObserver, find_metrics
from openai_proxy.observe.metrics.tallies import FOLD_AT


def ended(outcome=Outcome.COMPLETE, model="gpt-4o", **fields):
    exchange = fakes.exchange(started=10.0, timestamp=1700000000.0, model=model)
    exchange.endpoint = "chat/completions"
    for name, value in fields.items():
        setattr(exchange, name, value)
    exchange.end(outcome, 12.0)
    return {"exchange": exchange}


@pytest.fixture
def metrics():
    return PrometheusObserver(
        ObserverContext(Clock(), in_flight=lambda: 3, open_connections={"upstream": lambda: 4})
    )


def samples(metrics):
    content_type, page = metrics.render(b"text/plain")
    assert content_type.startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def value(metrics, name, **labels):
    return samples(metrics)[("openai_proxy_" + name, tuple(sorted(labels.items())))]


def test_every_name_is_on_the_page(metrics):
    """Each promised name exists with its labels."""
    metrics(
        ended(
            status=200,
            first_byte_at=11.0,
            response_first_body_at=11.0,
            upstream_s=0.999,
            attempts=2,
            streaming=True,
            usage=Usage(5, 11, 2, 3),
            cost_usd=0.5,
            cache_result="miss",
            retry_reasons=["503"],
            upstream_error_kinds=[("default", "reset")],
        )
    )
    metrics(ended(Outcome.LIMIT, rate_limited="requests", status=429))
    metrics(ended(Outcome.CLIENT_GONE))
    chat = {"endpoint": "chat/completions"}
    requests = {**chat, "model": "gpt-4o"}
    assert value(metrics, "requests_total", **requests, status="200", outcome="complete") == 1
    assert value(metrics, "requests_total", **requests, status="0", outcome="client_gone") == 1
    for kind, count in {"input": 5, "output": 11, "cached": 2, "reasoning": 3}.items():
        assert value(metrics, "tokens_total", model="gpt-4o", kind=kind) == count
    assert value(metrics, "cost_usd_total", model="gpt-4o") == 0.5
    assert value(metrics, "cache_requests_total", **chat, result="miss") == 1
    assert value(metrics, "rate_limited_total", kind="requests") == 1
    assert value(metrics, "upstream_errors_total", upstream="default", kind="reset") == 1
    assert value(metrics, "upstream_retries_total", reason="503") == 1
    assert value(metrics, "client_disconnects_total") == 1
    assert value(metrics, "in_flight_requests") == 3
    assert value(metrics, "open_connections", side="upstream") == 4
    assert value(metrics, "request_duration_seconds_count") == 3
    assert value(metrics, "time_to_first_byte_seconds_count") == 1
    assert value(metrics, "time_per_output_token_seconds_sum") == pytest.approx(0.1)
    assert value(metrics, "overhead_seconds_sum") == pytest.approx(0.001)
    names = {name for name, _ in samples(metrics)}
    assert "process_resident_memory_bytes" in names
    assert "python_info" in names
    assert not [name for name in names if name.endswith("_created")]


def test_models_are_bounded(metrics):
    """After 200 models the rest is `other`, and refused requests take no place."""
    for n in range(300):
        metrics(ended(Outcome.REJECTED, model=f"junk-{n}", status=401))
    for n in range(260):
        metrics(ended(model=f"model-{n}", status=200))
    models = {dict(labels).get("model") for _, labels in samples(metrics)} - {None}
    assert len(models) == 201
    assert "other" in models


@pytest.mark.parametrize("model", ['a"b\n}\x1b\r\u2028', "\ud800", "", None, "x" * 10000, "\\"])
def test_any_model_name_keeps_the_page_valid(metrics, model):
    """A stranger's model name can neither break nor forge the page."""
    metrics(ended(model=model, status=200))
    total = sum(v for (name, _), v in samples(metrics).items() if name == "openai_proxy_requests_total")
    assert total == 1


def test_openmetrics_on_request(metrics):
    """A scraper that asks for OpenMetrics gets it."""
    content_type, page = metrics.render(b"application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert page.endswith(b"# EOF\n")


def test_found_among_the_observers(metrics):
    """The page is rendered by the observer that counts."""
    assert find_metrics([print, metrics]) is metrics
    assert find_metrics([]) is None


def test_trouble_behind_a_good_head_is_counted(metrics):
    """A client that leaves in the middle of a 200 is one that left."""
    metrics(ended(Outcome.CLIENT_GONE, status=200, attempts=1, first_byte_at=11.0))
    metrics(ended(status=200, attempts=1, first_byte_at=11.0))
    assert value(metrics, "client_disconnects_total") == 1


def test_durations_do_not_pile_up_without_a_scraper(metrics):
    """Nobody asks for the page for weeks: memory stays as it is."""
    for _ in range(3 * FOLD_AT):
        metrics(ended(status=200, attempts=1, first_byte_at=11.0, upstream_s=0.5))
        metrics.flush()
    assert metrics._duration.waiting < FOLD_AT
    assert metrics._overhead.waiting < FOLD_AT
    for name in ("request_duration", "time_to_first_byte", "overhead"):
        assert value(metrics, f"{name}_seconds_count") == 3 * FOLD_AT


def test_costs_and_tokens_are_on_the_page_once_there_are_some(metrics):
    """A model that cost nothing known has no line that says zero dollars."""
    metrics(ended(status=200, attempts=1))
    assert not [
        name for name, labels in samples(metrics) if name.endswith(("cost_usd_total", "tokens_total"))
    ]
    metrics(ended(status=200, attempts=1, usage=Usage(3, 0), cost_usd=0.25))
    metrics(ended(status=200, attempts=1, usage=Usage(3, 0), cost_usd=0.25))
    assert value(metrics, "cost_usd_total", model="gpt-4o") == 0.5
    assert value(metrics, "tokens_total", model="gpt-4o", kind="input") == 6
    assert value(metrics, "tokens_total", model="gpt-4o", kind="output") == 0


def requests_by_model(metrics):
    counts = {}
    for (name, labels), count in samples(metrics).items():
        if name == "openai_proxy_requests_total":
            model = dict(labels)["model"]
            counts[model] = counts.get(model, 0) + count
    return counts


@pytest.fixture
def configured():
    names = {"house"}
    return PrometheusObserver(ObserverContext(Clock(), configured_models=lambda: names))


def test_names_that_exist_nowhere_take_no_label(configured):
    """205 invented names pushed the configured ones into `other` until the restart."""
    for number in range(205):
        configured(ended(model=f"junk-{number}", status=404))
        configured(ended(Outcome.UPSTREAM_ERROR, model=f"gone-{number}", status=502))
        configured(ended(Outcome.CLIENT_GONE, model=f"left-{number}"))
    configured(ended(model="house", status=404))
    configured(ended(model="real", status=200))
    assert requests_by_model(configured) == {"other": 615, "house": 1, "real": 1}


def test_a_new_model_takes_the_label_of_the_least_used(configured):
    """Its counts go on under `other`, so that no sum is lost; configured and busy models stay."""
    configured(ended(model="house", status=200))
    for number in range(199):
        for _ in range(1 if number == 7 else 2):
            configured(ended(model=f"m{number}", status=200, usage=Usage(5, 7), cost_usd=0.5))
    configured(ended(model="new", status=200))
    found = requests_by_model(configured)
    assert (found["house"], found["new"], found["other"], found["m8"]) == (1, 1, 1, 2)
    assert "m7" not in found
    assert value(configured, "tokens_total", model="other", kind="output") == 7
    assert value(configured, "cost_usd_total", model="other") == 0.5
    configured(ended(model="m7", status=404))
    assert requests_by_model(configured)["other"] == 2


def test_names_that_an_upstream_accepts_are_bounded_too(configured):
    """Some model servers answer whatever name they are asked for."""
    for number in range(1000):
        configured(ended(model=f"m{number}", status=200))
    found = requests_by_model(configured)
    assert len(found) <= 201
    assert sum(found.values()) == 1000


def test_budgets_are_shown_by_key():
    """For those who have one."""
    readings = [BudgetReading("alice", 10.0, 2.5, 1.0)]
    metrics = PrometheusObserver(ObserverContext(Clock(), budgets=lambda: readings))
    assert [value(metrics, f"budget_{what}_usd", key="alice") for what in ("limit", "spent", "reserved")] == [
        10.0,
        2.5,
        1.0,
    ]
    readings.clear()
    assert not [name for name, _ in samples(metrics) if "budget" in name]


def test_client_keys_have_a_label_where_they_are_asked_for():
    """By name; who has none is `none`; a model that gives its label away takes its keys along."""
    metrics = PrometheusObserver(ObserverContext(Clock(), key_labels=True))
    for key in ("alice", "bob", "alice", None):
        metrics(ended(model="m", status=200, key=key, usage=Usage(5, 7), cost_usd=0.5))
    page = {
        "endpoint": "chat/completions",
        "model": "m",
        "status": "200",
        "outcome": "complete",
    }
    assert [value(metrics, "requests_total", **page, key=key) for key in ("alice", "bob", "none")] == [
        2,
        1,
        1,
    ]
    assert value(metrics, "tokens_total", model="m", kind="input", key="alice") == 10
    assert value(metrics, "cost_usd_total", model="m", key="bob") == 0.5
    for number in range(200):
        metrics(ended(model=f"m{number}", status=200, key="bob"))
        metrics(ended(model=f"m{number}", status=200, key="bob"))
        metrics(ended(model=f"m{number}", status=200, key="bob"))
        metrics(ended(model=f"m{number}", status=200, key="bob"))
        metrics(ended(model=f"m{number}", status=200, key="bob"))
    assert value(metrics, "cost_usd_total", model="other", key="alice") == 1.0


def test_the_daemons_own_state_is_there_to_alert_on():
    """What runs, whether the last reload worked, Redis, lost lines, the spool, ends of certificates."""
    state = DaemonState(False, 1e9, True, 7, 4096, {"ssl:8443": 2e9})
    metrics = PrometheusObserver(ObserverContext(Clock(), state=lambda: state))
    assert value(metrics, "config_last_reload_successful") == 0
    assert value(metrics, "config_last_reload_success_timestamp_seconds") == 1e9
    assert value(metrics, "redis_up") == 1
    assert value(metrics, "lost_lines_total") == 7
    assert value(metrics, "exchange_log_spool_bytes") == 4096
    assert value(metrics, "certificate_expiry_timestamp_seconds", listener="ssl:8443") == 2e9
    assert [labels for name, labels in samples(metrics) if name == "openai_proxy_build_info"]
