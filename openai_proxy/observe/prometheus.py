"""The `prometheus` observer: counts exchanges, renders the metrics page.

A registry of its own, fed from the batches; children are kept, since
looking one up by labels costs four times the increment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from twisted.logger import LogEvent

from ..core.exchange import Exchange, Outcome, Usage
from .interfaces import Observer, ObserverContext
from .labels import OTHER, BoundedLabels

_REQUEST_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 180, 300, 600)
_FIRST_BYTE_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)
_PER_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1)
_OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)

NO_STATUS = "0"
"""The label `status` of an exchange that ended before a status was known."""


class _Children:
    """The children of one counter, kept by their label values."""

    def __init__(self, registry: CollectorRegistry, name: str, help: str, labels: tuple[str, ...]) -> None:
        self._counter = Counter(name, help, labels, registry=registry)
        self._kept: dict[tuple[str, ...], Callable[[float], Any]] = {}

    def inc(self, labels: tuple[str, ...], amount: float = 1) -> None:
        increase = self._kept.get(labels)
        if increase is None:
            increase = self._kept[labels] = self._counter.labels(*labels).inc
        increase(amount)


class PrometheusObserver:
    """Feeds the metrics that README, *Metrics*, lists; `render` gives the page.

    `openai_proxy_overhead_seconds` is the time from the end of the request's
    head to the response's head, less the time spent waiting for the
    upstream's head (`Exchange.upstream_s`, all attempts): what the proxy
    itself added, the arrival of the request's body included. Exchanges that
    never asked an upstream, or got no head, are not in it.
    """

    counts = True
    """Kept when the observers are built anew."""

    def __init__(self, context: ObserverContext) -> None:
        disable_created_metrics()
        registry = self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._models = BoundedLabels()
        self._make_counters(registry)
        self._make_histograms(registry)
        self._make_gauges(registry, context)

    def _make_counters(self, registry: CollectorRegistry) -> None:
        def counter(name: str, help: str, *labels: str) -> _Children:
            return _Children(registry, "openai_proxy_" + name, help, labels)

        self._requests = counter(
            "requests_total", "Exchanges that ended.", "endpoint", "model", "status", "outcome"
        )
        self._tokens = counter("tokens_total", "Model tokens, by kind.", "model", "kind")
        self._cost = counter("cost_usd_total", "Cost of the exchanges in US dollars.", "model")
        self._cache = counter("cache_requests_total", "Look-ups in the cache.", "endpoint", "result")
        self._limited = counter("rate_limited_total", "Requests refused by a limit.", "kind")
        self._errors = counter("upstream_errors_total", "Failed upstream attempts.", "upstream", "kind")
        self._retries = counter("upstream_retries_total", "Further attempts, by reason.", "reason")
        self._disconnects = Counter(
            "openai_proxy_client_disconnects_total",
            "Exchanges whose client left before their end.",
            registry=registry,
        )

    def _make_histograms(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, help: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"openai_proxy_{name}_seconds", help, buckets=buckets, registry=registry)

        self._duration = histogram("request_duration", "From the request's head to the end.", _REQUEST_S)
        self._first_byte = histogram(
            "time_to_first_byte", "From the request's head to the response's.", _FIRST_BYTE_S
        )
        self._per_token = histogram(
            "time_per_output_token", "Between output tokens of a stream, after the first.", _PER_TOKEN_S
        )
        self._overhead = histogram("overhead", "Time spent in the proxy itself.", _OVERHEAD_S)

    def _make_gauges(self, registry: CollectorRegistry, context: ObserverContext) -> None:
        in_flight = Gauge("openai_proxy_in_flight_requests", "Exchanges running now.", registry=registry)
        in_flight.set_function(context.in_flight)
        connections = Gauge(
            "openai_proxy_open_connections", "Open connections, by side.", ["side"], registry=registry
        )
        for side, count in context.open_connections.items():
            connections.labels(side).set_function(count)

    def __call__(self, event: LogEvent) -> None:
        exchange: Exchange = event["exchange"]
        outcome = exchange.outcome or Outcome.COMPLETE
        model = self._models.label(exchange.model, admit=outcome is not Outcome.REJECTED)
        endpoint = exchange.endpoint or OTHER
        status = NO_STATUS if exchange.status is None else str(exchange.status)
        self._requests.inc((endpoint, model, status, outcome.value))
        self._time(exchange, outcome)
        if exchange.usage is not None and exchange.cached:
            self._tokens.inc((model, "cached"), exchange.usage.total_tokens)  # nobody spent them again
        elif exchange.usage is not None:
            self._count_tokens(exchange.usage, model)
        if exchange.cost_usd is not None and exchange.cost_usd >= 0:
            self._cost.inc((model,), exchange.cost_usd)
        if exchange.cache_result is not None:
            self._cache.inc((endpoint, exchange.cache_result))
        if exchange.rate_limited is not None:
            self._limited.inc((exchange.rate_limited,))
        for labels in exchange.upstream_error_kinds:
            self._errors.inc(labels)
        for reason in exchange.retry_reasons:
            self._retries.inc((reason,))
        if outcome is Outcome.CLIENT_GONE:
            self._disconnects.inc()

    def _time(self, exchange: Exchange, outcome: Outcome) -> None:
        self._duration.observe(exchange.duration_s)
        first_byte_s = exchange.first_byte_s
        if first_byte_s is None:
            return
        self._first_byte.observe(first_byte_s)
        if exchange.attempts and exchange.upstream_s > 0:
            self._overhead.observe(max(0.0, first_byte_s - exchange.upstream_s))
        usage, first, ended = exchange.usage, exchange.response_first_body_at, exchange.ended_at
        if (
            exchange.streaming
            and outcome is Outcome.COMPLETE
            and usage is not None
            and usage.output_tokens > 1
            and first is not None
            and ended is not None
        ):
            self._per_token.observe((ended - first) / (usage.output_tokens - 1))

    def _count_tokens(self, usage: Usage, model: str) -> None:
        self._tokens.inc((model, "input"), max(0, usage.input_tokens))
        self._tokens.inc((model, "output"), max(0, usage.output_tokens))
        if usage.cached_tokens > 0:
            self._tokens.inc((model, "cached"), usage.cached_tokens)
        if usage.reasoning_tokens > 0:
            self._tokens.inc((model, "reasoning"), usage.reasoning_tokens)

    def render(self, accept: bytes = b"") -> tuple[str, bytes]:
        """Return content type and body of the page, in the format that `Accept` asks for."""
        encode, content_type = choose_encoder(accept.decode("latin-1"))
        return content_type, encode(self.registry)


def find_metrics(observers: Iterable[Observer]) -> PrometheusObserver | None:
    """Return the observer that renders the metrics page."""
    return next((each for each in observers if isinstance(each, PrometheusObserver)), None)
