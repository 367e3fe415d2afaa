"""Metrics of the stores in Redis: how often one did not do what was asked.

A collector for the registry of the `prometheus` observer: the stores count
for themselves, nothing is done here before somebody asks for the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

_HELP = {
    "cache": "What the cache's Redis did not answer in time, or answered with something else.",
    "limit": "Admissions that the limits' Redis did not decide: the process did by itself.",
}


class StoreFailures(Collector):
    """Shows `openai_proxy_<store>_store_failures_total` by `kind`, for each store that there is.

    `failures` returns the counts by (store, kind), asked for at each scrape;
    a reload may add stores and takes none away.
    """

    def __init__(self, failures: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._failures = failures

    def collect(self) -> Iterator[CounterMetricFamily]:
        counts = self._failures()
        for store, help in _HELP.items():
            kinds = {kind: count for (name, kind), count in counts.items() if name == store}
            if kinds:
                family = CounterMetricFamily(f"openai_proxy_{store}_store_failures", help, labels=["kind"])
                for kind, count in kinds.items():
                    family.add_metric([kind], count)
                yield family
