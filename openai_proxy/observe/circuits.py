"""Circuits of upstreams that opened or closed: a log line and a count for each.

Lives as long as the process: a reload begins with closed circuits, and the
counts go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..core.upstream_health import Change
from ..logs import logger
from .labels import BoundedLabels
from .record import shown

log = logger(__name__)

ALL = "all"
"""The label `model` of a whole upstream's circuit."""


class CircuitNews:
    """Told of each change; `counts` are by upstream, model and `open` or `closed`."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str, str], int] = {}
        self._models = BoundedLabels()

    def changed(self, change: Change) -> None:
        """Log and count one change."""
        model = ALL if change.model is None else self._models.label(change.model)
        key = change.upstream, model, "open" if change.opened else "closed"
        self.counts[key] = self.counts.get(key, 0) + 1
        whose = change.upstream if change.model is None else f"{change.upstream}, model {shown(change.model)}"
        if change.opened:
            log.warn(
                "upstream {whose}: the circuit opened: {reason}; other upstreams are asked first",
                whose=whose,
                reason=change.reason,
            )
        else:
            log.info("upstream {whose}: the circuit closed: {reason}", whose=whose, reason=change.reason)

    def label(self, model: str) -> str:
        """Return the label of a model's circuit."""
        return self._models.label(model)


class UpstreamStates(Collector):
    """Shows the state of the upstreams, asked for at each scrape.

    `up` gives each upstream's name and whether it can be reached, `open`
    upstream and model (None: the whole upstream) of each circuit that is not
    closed.
    """

    def __init__(
        self,
        up: Callable[[], Mapping[str, bool]],
        open: Callable[[], Iterable[tuple[str, str | None]]],
        news: CircuitNews,
    ) -> None:
        self._up = up
        self._open = open
        self._news = news

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "openai_proxy_upstream_up", "1 if the upstream takes connections, else 0.", labels=["upstream"]
        )
        states: dict[tuple[str, str], int] = {}
        for name, reachable in self._up().items():
            up.add_metric([name], int(reachable))
            states[name, ALL] = 0
        yield up
        states.update({(name, model): 0 for name, model, _ in self._news.counts})
        for name, model in self._open():
            states[name, ALL if model is None else self._news.label(model)] = 1
        circuits = GaugeMetricFamily(
            "openai_proxy_upstream_circuit_open",
            "1 while the circuit of a model, or of a whole upstream (`all`), is not closed; summed over workers.",
            labels=["upstream", "model"],
        )
        for (name, model), is_open in states.items():
            circuits.add_metric([name, model], is_open)
        yield circuits
        changes = CounterMetricFamily(
            "openai_proxy_upstream_circuit_changes",
            "Circuits that opened or closed.",
            labels=["upstream", "model", "state"],
        )
        for key, count in self._news.counts.items():
            changes.add_metric(key, count)
        yield changes
