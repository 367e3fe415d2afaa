"""What the log and the metrics say of circuits that open and close."""

from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from openai_proxy.observe.interfaces import ObserverContext
from openai_proxy.observe.metrics.circuits import CircuitNews, UpstreamReport
from openai_proxy.observe.metrics.prometheus import PrometheusObserver
from openai_proxy.policies.routing.health_news import Change
from openai_proxy.workers.totals import Totals, snapshot


def page(report):
    _, text = PrometheusObserver(ObserverContext(Clock(), upstream_report=lambda: report)).render()
    lines = text.decode().splitlines()
    return [
        line
        for line in lines
        if line.startswith(("openai_proxy_upstream_up", "openai_proxy_upstream_circuit"))
    ]


def test_each_change_is_counted_and_told_with_its_reason():
    """One line each; names of strangers cannot break the line."""
    news = CircuitNews()
    with capturedLogs() as events:
        news.changed(Change("a", "big\nmodel", True, "500"))
        news.changed(Change("a", "big\nmodel", False, "it answers again"))
        news.changed(Change("b", None, True, "it takes no connections (refused)"))
    lines = [event["log_format"].format(**event) for event in events]
    assert lines == [
        "upstream a, model big\\nmodel: the circuit opened: 500; other upstreams are asked first",
        "upstream a, model big\\nmodel: the circuit closed: it answers again",
        "upstream b: the circuit opened: it takes no connections (refused); other upstreams are asked first",
    ]
    assert news.counts == {
        ("a", "big\\nmodel", "open"): 1,
        ("a", "big\\nmodel", "closed"): 1,
        ("b", "all", "open"): 1,
    }


def test_labels_are_bounded():
    """However many models fail."""
    news = CircuitNews()
    with capturedLogs():
        for number in range(1000):
            news.changed(Change("a", f"m{number}", True, "500"))
    assert len(news.counts) == 201
    assert news.counts["a", "other", "open"] == 800


def test_the_metrics_of_upstreams():
    """Every upstream is there before anything happened; a circuit that closed goes back to 0."""
    assert page(UpstreamReport({"a": True})) == [
        'openai_proxy_upstream_up{upstream="a"} 1.0',
        'openai_proxy_upstream_circuit_open{model="all",upstream="a"} 0.0',
    ]
    changes = {
        ("a", "big", "open"): 2,
        ("a", "big", "closed"): 1,
        ("a", "old", "open"): 1,
        ("a", "old", "closed"): 1,
    }
    assert page(UpstreamReport({"a": True, "b": False}, (("a", "big"), ("b", "all")), changes)) == [
        'openai_proxy_upstream_up{upstream="a"} 1.0',
        'openai_proxy_upstream_up{upstream="b"} 0.0',
        'openai_proxy_upstream_circuit_open{model="all",upstream="a"} 0.0',
        'openai_proxy_upstream_circuit_open{model="all",upstream="b"} 1.0',
        'openai_proxy_upstream_circuit_open{model="big",upstream="a"} 1.0',
        'openai_proxy_upstream_circuit_open{model="old",upstream="a"} 0.0',
        'openai_proxy_upstream_circuit_changes_total{model="big",state="open",upstream="a"} 2.0',
        'openai_proxy_upstream_circuit_changes_total{model="big",state="closed",upstream="a"} 1.0',
        'openai_proxy_upstream_circuit_changes_total{model="old",state="open",upstream="a"} 1.0',
        'openai_proxy_upstream_circuit_changes_total{model="old",state="closed",upstream="a"} 1.0',
    ]


def test_an_upstream_is_up_if_every_worker_reaches_it():
    """With several workers the page never says 2."""
    totals = Totals()
    for number, up in enumerate((True, True, False)):
        context = ObserverContext(Clock(), upstream_report=lambda up=up: UpstreamReport({"a": True, "b": up}))
        totals.report(number, snapshot(PrometheusObserver(context).registry))
    _, text = totals.page("")
    assert b'openai_proxy_upstream_up{upstream="a"} 1.0' in text
    assert b'openai_proxy_upstream_up{upstream="b"} 0.0' in text
