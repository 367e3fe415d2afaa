"""The state of the upstreams of a configuration, for the metrics and the live view."""

from __future__ import annotations

from typing import Any

from ..observe.metrics.circuits import ALL, CircuitNews, UpstreamReport
from .exchanger import Exchanger


def upstream_report(exchanger: Exchanger, news: CircuitNews) -> UpstreamReport:
    """Return the state found last; if it is some seconds old, begin a probe for the next call."""
    exchanger.reachability.ask()
    unreachable = exchanger.agent.unreachable
    circuits = exchanger.route.open_circuits() if exchanger.route is not None else ()
    return UpstreamReport(
        up={
            **dict.fromkeys(exchanger.serverless.forwards, True),
            **{name: origin not in unreachable for name, origin in exchanger.origins.items()},
        },
        open=tuple((name, news.label(model)) for name, model in circuits),
        changes=news.counts,
    )


def upstreams_shown(exchanger: Exchanger, news: CircuitNews) -> list[dict[str, Any]]:
    """Return for each upstream whether it can be reached, its open circuits, and its last failure."""
    report = upstream_report(exchanger, news)
    route, reachability = exchanger.route, exchanger.reachability
    running = {} if route is None else route.in_flight
    alone = len(report.up) == 1
    return [
        {
            "name": name,
            "up": up,
            "in_flight": running.get(name),
            "circuits": [
                {
                    "model": None if model == ALL else model,
                    "state": "open",
                    "reason": news.reasons.get((name, model)),
                }
                for upstream, model in report.open
                if upstream == name
            ],
            "reason": news.reasons.get((name, ALL), reachability.reason if alone else None),
        }
        for name, up in report.up.items()
    ]
