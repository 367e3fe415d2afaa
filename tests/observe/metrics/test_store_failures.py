"""Operators see that a store in Redis does not work, although clients notice nothing."""

from prometheus_client import CollectorRegistry, generate_latest

from openai_proxy.observe.metrics.store_failures import StoreFailures


def page_of(counts):
    registry = CollectorRegistry(auto_describe=True)
    registry.register(StoreFailures(lambda: counts))
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("# ")]


def test_each_store_has_a_metric_of_its_own():
    """What is counted is there, at zero too."""
    counts = {("cache", "unanswered"): 0, ("cache", "rejected"): 2, ("limit", "unanswered"): 3}
    assert page_of(counts) == [
        'openai_proxy_cache_store_failures_total{kind="unanswered"} 0.0',
        'openai_proxy_cache_store_failures_total{kind="rejected"} 2.0',
        'openai_proxy_limit_store_failures_total{kind="unanswered"} 3.0',
    ]


def test_stores_that_are_not_there_have_no_metric():
    """Without Redis the page says nothing of it."""
    assert page_of({}) == []


def test_what_a_reload_adds_is_shown():
    """The counts are asked for at each scrape."""
    counts = {}
    registry = CollectorRegistry(auto_describe=True)
    registry.register(StoreFailures(lambda: counts))
    counts["limit", "unanswered"] = 1
    assert registry.get_sample_value("openai_proxy_limit_store_failures_total", {"kind": "unanswered"}) == 1
