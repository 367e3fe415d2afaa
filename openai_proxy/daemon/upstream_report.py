"""How the upstreams of a configuration are, for the metrics."""

from __future__ import annotations

from ..observe.metrics.circuits import CircuitNews, UpstreamReport
from .exchanger import Exchanger


def upstream_report(exchanger: Exchanger, news: CircuitNews) -> UpstreamReport:
    """Return what is known now; if nothing was known for some seconds, a probe begins for the next one who asks."""
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
