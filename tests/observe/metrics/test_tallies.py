"""Counters and histograms of our own say what prometheus_client's would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from openai_proxy.observe.metrics.tallies import Tallies


def samples(registry):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@given(st.lists(st.floats(0, 4) | st.sampled_from([0.5, 1.0, 2.5]), max_size=20))
def test_a_histogram_counts_as_the_librarys(values):
    """Bounds belong to their bucket, buckets add up."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tallies = Tallies()
    histogram = tallies.histogram("x_seconds", "Help.", (0.5, 1, 2.5))
    ours.register(tallies)
    reference = Histogram("x_seconds", "Help.", buckets=(0.5, 1, 2.5), registry=theirs)
    for value in values:
        histogram.observe(value)
        reference.observe(value)
    assert samples(ours) == samples(theirs)


def test_counters_are_kept_by_their_labels():
    """The same labels are the same counter."""
    registry = CollectorRegistry()
    tallies = Tallies()
    family = tallies.family("x", "Help.", "model")
    registry.register(tallies)
    family.of("a").value += 2
    family.of("b").value += 1
    family.of("a").value += 0.5
    assert samples(registry) == {("x_total", (("model", "a"),)): 2.5, ("x_total", (("model", "b"),)): 1}


@given(st.lists(st.lists(st.floats(0, 4), max_size=5), max_size=5))
def test_values_folded_now_and_then_count_as_those_folded_at_once(batches):
    """When a histogram puts its values into buckets changes nothing on the page."""
    pages = []
    for fold_between in (True, False):
        registry, tallies = CollectorRegistry(), Tallies()
        histogram = tallies.histogram("x_seconds", "Help.", (0.5, 1, 2.5))
        registry.register(tallies)
        for batch in batches:
            for value in batch:
                histogram.observe(value)
            if fold_between:
                histogram.fold()
                assert histogram.waiting == 0
        pages.append(samples(registry))
    assert pages[0].keys() == pages[1].keys()
    for name, value in pages[0].items():
        assert pages[1][name] == pytest.approx(value)
