"""Metrics to alert on: what runs here, whether the last reload worked, whether Redis is there, what logs lost."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

from attrs import field, frozen
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from twisted import __version__ as twisted_version

from ... import __version__


@frozen
class DaemonState:
    """The daemon's own state at one moment."""

    reload_worked: bool = True
    """Whether the configuration that was loaded last is in use."""
    loaded_at: float = 0.0
    """When the configuration in use was loaded, in seconds since the epoch."""
    redis_up: bool | None = None
    """None if no Redis is configured."""
    lost_lines: int = 0
    """Lines of observers that could not be written."""
    spool_bytes: int | None = None
    """What waits for remote stores; None without one."""
    certificates: dict[str, float] = field(factory=dict)
    """When the certificate of each listener ends, in seconds since the epoch, by its address."""


class DaemonMetrics(Collector):
    """Shows that state as metrics; `state` is called at each scrape."""

    def __init__(self, state: Callable[[], DaemonState]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        labels = ["version", "python", "twisted"]
        build = GaugeMetricFamily("openai_proxy_build_info", "What runs here.", labels=labels)
        build.add_metric([__version__, platform.python_version(), twisted_version], 1)
        yield build
        state = self._state()
        yield GaugeMetricFamily(
            "openai_proxy_config_last_reload_successful",
            "Whether the configuration that was loaded last is in use.",
            value=float(state.reload_worked),
        )
        yield GaugeMetricFamily(
            "openai_proxy_config_last_reload_success_timestamp_seconds",
            "When the configuration in use was loaded.",
            value=state.loaded_at,
        )
        yield CounterMetricFamily(
            "openai_proxy_lost_lines", "Lines of observers that could not be written.", value=state.lost_lines
        )
        if state.redis_up is not None:
            yield GaugeMetricFamily(
                "openai_proxy_redis_up", "Whether Redis is connected.", value=float(state.redis_up)
            )
        if state.spool_bytes is not None:
            yield GaugeMetricFamily(
                "openai_proxy_exchange_log_spool_bytes",
                "Bytes of the exchange log that wait for a remote store.",
                value=state.spool_bytes,
            )
        if state.certificates:
            ends = GaugeMetricFamily(
                "openai_proxy_certificate_expiry_timestamp_seconds",
                "When the certificate of a listener ends.",
                labels=["listener"],
            )
            for listener, at in state.certificates.items():
                ends.add_metric([listener], at)
            yield ends
