"""Circuits of upstreams that opened or closed: a log line and a count for each.

Lives as long as the process: a reload begins with closed circuits, and the
counts go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from attrs import field, frozen
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ...logs import logger
from ..lines.record import shown
from .labels import BoundedLabels

log = logger(__name__)

ALL = "all"
"""The label `model` of a whole upstream's circuit."""


class Change(Protocol):
    """A circuit that has opened or closed; see `upstream_health.Change`."""

    @property
    def upstream(self) -> str: ...
    @property
    def model(self) -> str | None: ...
    @property
    def opened(self) -> bool: ...
    @property
    def reason(self) -> str: ...


class CircuitNews:
    """Notes each change; `counts` are by upstream, model and `open` or `closed`."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str, str], int] = {}
        self.reasons: dict[tuple[str, str], str] = {}
        """Why the circuit of an upstream and model (or ALL) opened last."""
        self._models = BoundedLabels()

    def changed(self, change: Change) -> None:
        """Log and count one change."""
        key = change.upstream, self.label(change.model), "open" if change.opened else "closed"
        self.counts[key] = self.counts.get(key, 0) + 1
        whose = change.upstream if change.model is None else f"{change.upstream}, model {shown(change.model)}"
        if change.opened:
            self.reasons[key[:2]] = change.reason
            log.warn(
                "upstream {whose}: the circuit opened: {reason}; other upstreams are asked first",
                whose=whose,
                reason=change.reason,
            )
        else:
            log.info("upstream {whose}: the circuit closed: {reason}", whose=whose, reason=change.reason)

    def label(self, model: str | None) -> str:
        """Return the label of a model's circuit, or of a whole upstream's (None)."""
        return ALL if model is None else self._models.label(model)


@frozen
class UpstreamReport:
    """How the upstreams are now, and what their circuits did since the start of the process."""

    up: Mapping[str, bool]
    """Whether the latest connection to each could be made."""
    open: tuple[tuple[str, str], ...] = ()
    """Upstream and model (or ALL) of each circuit that is not closed."""
    changes: Mapping[tuple[str, str, str], int] = field(factory=dict)
    """Upstream, model (or ALL), `open` or `closed`: how often."""


class UpstreamStates(Collector):
    """Shows the report on the upstreams, asked for at each scrape."""

    def __init__(self, report: Callable[[], UpstreamReport]) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        report = self._report()
        up = GaugeMetricFamily(
            "openai_proxy_upstream_up",
            "1 if the latest connection to the upstream could be made, else 0.",
            labels=["upstream"],
        )
        for name, reachable in report.up.items():
            up.add_metric([name], int(reachable))
        yield up
        states = {(name, ALL): 0 for name in report.up}
        states.update({(name, model): 0 for name, model, _ in report.changes})
        states.update(dict.fromkeys(report.open, 1))
        circuits = GaugeMetricFamily(
            "openai_proxy_upstream_circuit_open",
            "1 while the circuit of a model, or of a whole upstream (`all`), is not closed, summed over workers.",
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
        for key, count in report.changes.items():
            changes.add_metric(key, count)
        yield changes
