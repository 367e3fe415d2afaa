"""The metrics of all workers as one page: sums that never go down.

Pure except for prometheus-client's encoder. A worker's metrics come as a
`Snapshot`; the counters of ended workers are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from attrs import define, field
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from ..observe.metrics.labels import NONE, OTHER, BoundedLabels

Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]
"""Sample name and labels to value."""
Snapshot = list[tuple[str, str, str, Samples]]
"""Name, type, help and samples of each family."""

_COUNTING = frozenset({"counter", "histogram", "summary", "gaugehistogram"})
_SHARED = frozenset(
    (
        *(
            f"openai_proxy_{of}budget_{what}_usd"
            for of in ("", "group_")
            for what in ("limit", "spent", "reserved")
        ),
        "openai_proxy_config_last_reload_success_timestamp_seconds",
    )
)
"""Gauges of what all workers share: each worker reports the whole, as it last saw it."""
_FIRST = frozenset(
    {
        "process_start_time_seconds",
        "openai_proxy_upstream_up",
        "openai_proxy_redis_up",
        "openai_proxy_config_last_reload_successful",
        "openai_proxy_certificate_expiry_timestamp_seconds",
    }
)
"""Gauges whose smallest value is the daemon's."""


def snapshot(collector: Any) -> Snapshot:
    """Return the present metrics of a registry. O(samples): some microseconds each."""
    return [
        (
            metric.name,
            metric.type,
            metric.documentation,
            {(each.name, tuple(each.labels.items())): each.value for each in metric.samples},
        )
        for metric in collector.collect()
    ]


@define
class _Family:
    kind: str
    help: str
    samples: Samples = field(factory=dict)

    def add(self, name: str, samples: Samples) -> None:
        mine = self.samples
        for key, value in samples.items():
            if key not in mine:
                mine[key] = value
            elif name in _FIRST:
                mine[key] = min(mine[key], value)
            elif name.endswith("_info") or name in _SHARED:
                mine[key] = max(mine[key], value)
            else:
                mine[key] += value


class Totals:
    """The last report of each worker, and the counters of ended ones. Owned by the supervisor."""

    def __init__(self, configured_models: Callable[[], Collection[str]] = frozenset) -> None:
        self._latest: dict[object, Snapshot] = {}
        self._ended: Snapshot = []
        self._published: dict[tuple[str, Labels], float] = {}
        self._models = BoundedLabels(configured=configured_models)

    def report(self, source: object, snapshot: Snapshot) -> None:
        """Take the present counts of `source`."""
        kept = [each for other, each in self._latest.items() if other is not source]
        self._models.retain(_models_in([*kept, self._ended, snapshot]))  # a worker may have dropped labels
        self._latest[source] = [
            (name, kind, help, self._bounded(samples)) for name, kind, help, samples in snapshot
        ]

    def _bounded(self, samples: Samples) -> Samples:
        """Return the samples with as few models as in one worker: each has its own few hundred."""
        if not any("model" in dict(labels) for _, labels in samples):
            return samples
        bounded: Samples = {}
        for (name, labels), value in samples.items():
            key = name, tuple((label, self._label(label, text)) for label, text in labels)
            bounded[key] = bounded.get(key, 0.0) + value
        return bounded

    def _label(self, name: str, value: str) -> str:
        return self._models.label(value) if name == "model" and value not in (NONE, OTHER) else value

    def end(self, source: object) -> None:
        """Keep the counters of a worker that has ended; its gauges are dropped."""
        last = self._latest.pop(source, None)
        if last is not None:
            families = _summed([self._ended, [each for each in last if each[1] in _COUNTING]])
            self._ended = [(name, each.kind, each.help, each.samples) for name, each in families.items()]

    def collect(self) -> list[Metric]:
        """Return the sums as metric families."""
        metrics = []
        for name, family in _summed([self._ended, *self._latest.values()]).items():
            metric = Metric(name, family.help, family.kind)
            for (sample, labels), value in family.samples.items():
                if family.kind in _COUNTING:
                    value = self._never_less((sample, labels), value)
                metric.add_sample(sample, dict(labels), value)
            metrics.append(metric)
        return metrics

    def _never_less(self, key: tuple[str, Labels], value: float) -> float:
        """Return the value, or the one published last if that is greater.

        Sums of floats depend on their order: otherwise a sum could decrease by
        its last bit when a worker ends, and a scraper would take that for a
        restart and count everything again.
        """
        value = self._published[key] = max(value, self._published.get(key, value))
        return value

    def page(self, accept: str) -> tuple[str, bytes]:
        """Return content type and body of the page, in the format that `Accept` asks for."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self)


def _models_in(snapshots: Iterable[Snapshot]) -> set[str]:
    return {
        text
        for each in snapshots
        for _, _, _, samples in each
        for _, labels in samples
        for label, text in labels
        if label == "model"
    }


def _summed(snapshots: Iterable[Snapshot]) -> dict[str, _Family]:
    families: dict[str, _Family] = {}
    for each in snapshots:
        for name, kind, help, samples in each:
            families.setdefault(name, _Family(kind, help)).add(name, samples)
    return families
