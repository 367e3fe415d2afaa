"""Rates and quantiles out of sums."""

import pytest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from openai_proxy.observe.live.figures import Figures, figures_of, quantile
from openai_proxy.observe.live.pulse import Pulse

INF = float("inf")


def test_figures_are_those_of_the_metrics():
    """Summed over all labels; an error is what did not complete, or has such a status."""
    requests = CounterMetricFamily("openai_proxy_requests", "", labels=["status", "outcome"])
    for labels, count in ((("200", "complete"), 5), (("429", "complete"), 2), (("0", "client_gone"), 1)):
        requests.add_metric(labels, count)
    tokens = CounterMetricFamily("openai_proxy_tokens", "", labels=["model", "kind"])
    for model in ("a", "b"):
        tokens.add_metric((model, "input"), 3)
        tokens.add_metric((model, "cached"), 1)
    cost = CounterMetricFamily("openai_proxy_cost_usd", "", labels=["model"])
    cost.add_metric(("a",), 0.5)
    duration = HistogramMetricFamily("openai_proxy_request_duration_seconds", "")
    duration.add_metric([], [("0.1", 1), ("1", 3), ("+Inf", 4)], 9)
    assert figures_of([requests, tokens, cost, duration]) == Figures(
        8, 6, 0, 0.5, {"429": 2, "client_gone": 1}, {0.1: 1, 1.0: 3, INF: 4}
    )


@pytest.mark.parametrize(("share", "value"), [(0.25, 0.1), (0.5, 0.55), (0.75, 1.0), (0.99, 1.0)])
def test_quantiles_are_prometheus_own(share, value):
    """By a straight line in the bucket."""
    now = {0.1: 11.0, 1.0: 13.0, INF: 14.0}
    assert quantile(share, now, {0.1: 10.0, 1.0: 10.0, INF: 10.0}) == pytest.approx(value)


def test_no_quantile_of_nothing():
    assert quantile(0.5, {}, {}) is None
    assert quantile(0.5, {1.0: 3, INF: 3}, {1.0: 3, INF: 3}) is None


def test_rates_of_the_last_second_and_errors_of_the_last_minute():
    """And a point every ten seconds."""
    pulse = Pulse()
    for second in range(91):
        errors = {"timeout": min(second, 40)}
        pulse.sample(second, 1000.0 + second, Figures(2 * second, 5 * second, second, 0.0, errors), 3)
    stats = pulse.stats()
    assert (stats["requests_per_s"], stats["tokens_per_s"]) == (2, 6)
    assert stats["errors"] == {"timeout": 10}
    assert [point["time"] for point in pulse.points] == [1000.0 + 10 * n for n in range(1, 10)]
    assert pulse.points[0]["requests_per_s"] == 2
    assert pulse.points[0]["in_flight"] == 3


def test_nothing_is_known_before_two_looks():
    assert Pulse().stats()["requests_per_s"] == 0
