"""The `prometheus` observer: counts exchanges, renders the metrics page.

A registry of its own, fed from the batches.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from twisted.logger import LogEvent

from ...exchange.outcome import Outcome
from ...exchange.record import Exchange
from ...exchange.usage import Usage
from ..interfaces import Observer, ObserverContext
from .budgets import BudgetMetrics
from .circuits import UpstreamStates
from .daemon_state import DaemonMetrics
from .labels import OTHER, BoundedLabels, EndpointLabels, has_succeeded
from .store_failures import StoreFailures
from .tallies import FOLD_AT, Tallies, Tally, TallyFamily, TallyHistogram

_REQUEST_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 180, 300, 600)
_FIRST_BYTE_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)
_PER_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1)
_OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)

_KINDS_KEPT = 4096
MOST_KEYS = 1000
"""Client keys that have a label of their own, if `metrics.keys` gives them one; the rest is `other`."""
MOST_SERIES = 4000
"""Request counters with all their labels; further ones count only by class of status."""
_TOKEN_KINDS = ("input", "output", "cached", "reasoning")

# Python 3.11 takes longer to look up an enum's member than to count one
_COMPLETE = Outcome.COMPLETE
NO_STATUS = "0"
"""The label `status` of an exchange that ended before a status was known."""


class _Kept:
    """The counters that exchanges of one kind feed; looked up once, not for each exchange."""

    __slots__ = ("_costs", "_key", "_tokens", "cost", "input", "model", "output", "requests")

    def __init__(
        self, requests: Tally, tokens: TallyFamily, costs: TallyFamily, model: str, key: tuple[str, ...]
    ) -> None:
        self._key = key
        self.requests = requests
        self.model = model
        self.input: Tally | None = None  # made with the first count, for the page shows what was made
        self.output: Tally | None = None
        self.cost: Tally | None = None
        self._tokens = tokens
        self._costs = costs

    def count_tokens(self, usage: Usage) -> None:
        if self.input is None or self.output is None:
            self.input, self.output = (
                self._tokens.of(self.model, "input", *self._key),
                self._tokens.of(self.model, "output", *self._key),
            )
        if usage.input_tokens > 0:
            self.input.value += usage.input_tokens
        if usage.output_tokens > 0:
            self.output.value += usage.output_tokens
        if usage.cached_tokens > 0:
            self._tokens.of(self.model, "cached", *self._key).value += usage.cached_tokens
        if usage.reasoning_tokens > 0:
            self._tokens.of(self.model, "reasoning", *self._key).value += usage.reasoning_tokens

    def count_cached(self, tokens: int) -> None:
        """Count tokens of an answer from the cache: nobody spent them again."""
        self._tokens.of(self.model, "cached", *self._key).value += tokens

    def count_cost(self, cost_usd: float) -> None:
        if self.cost is None:
            self.cost = self._costs.of(self.model, *self._key)
        self.cost.value += cost_usd


class PrometheusObserver:
    """Feeds the metrics that docs/reference/metrics.md lists; `render` gives the page.

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
        registry = self.registry = CollectorRegistry()  # describing is collecting, and nothing serves yet
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._models = BoundedLabels(
            configured=context.configured_models, uses=self._requests_by_model, release=self._move_to_other
        )
        self._endpoints = EndpointLabels()
        self._key_labels = context.key_labels
        self._keys = BoundedLabels(MOST_KEYS)
        tallies = self.tallies = Tallies()
        self._make_counters(tallies)
        self._make_histograms(tallies)
        registry.register(tallies)
        self._kept: dict[tuple[str, str | None, int | None, Outcome | None, str | None], _Kept] = {}
        self._labels_of: dict[str, set[tuple[str, ...]]] = {}
        """The labels of the request counters of each model."""
        self._make_gauges(registry, context)
        registry.register(StoreFailures(context.store_failures))
        registry.register(UpstreamStates(context.upstream_report))
        registry.register(BudgetMetrics(context.budgets))
        registry.register(DaemonMetrics(context.state))

    def _make_counters(self, tallies: Tallies) -> None:
        def counter(name: str, help: str, *labels: str) -> TallyFamily:
            return tallies.family("openai_proxy_" + name, help, *labels)

        key = ("key",) if self._key_labels else ()
        self._requests = counter(
            "requests", "Exchanges that ended.", "endpoint", "model", "status", "outcome", *key
        )
        self._tokens = counter("tokens", "Model tokens, by kind.", "model", "kind", *key)
        self._cost = counter("cost_usd", "Cost of the exchanges in US dollars.", "model", *key)
        self._cache = counter("cache_requests", "Look-ups in the cache.", "endpoint", "result")
        self._turns = counter(
            "websocket_turns", "Turns of WebSockets that ended.", "endpoint", "model", "outcome"
        )
        self._limited = counter("rate_limited", "Requests refused by a limit.", "kind")
        self._errors = counter("upstream_errors", "Failed upstream attempts.", "upstream", "kind")
        self._retries = counter("upstream_retries", "Further attempts, by reason.", "reason")
        self._choices = counter(
            "upstream_choices", "Choices among several upstreams, by reason.", "upstream", "reason"
        )
        self._tag_requests = counter("tag_requests", "Exchanges that ended, by tag.", "tag", "value")
        self._tag_costs = counter(
            "tag_cost_usd", "Cost of the exchanges in US dollars, by tag.", "tag", "value"
        )
        self._disconnects = counter(
            "client_disconnects", "Exchanges whose client left before their end."
        ).of()

    def _make_histograms(self, tallies: Tallies) -> None:
        def histogram(name: str, help: str, buckets: tuple[float, ...]) -> TallyHistogram:
            return tallies.histogram(f"openai_proxy_{name}_seconds", help, buckets)

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
        key = exchange.key if self._key_labels else None
        kept = self._kept.get((exchange.endpoint, exchange.model, exchange.status, exchange.outcome, key))
        if kept is None:
            kept = self._keep(exchange)
        kept.requests.value += 1
        started, first_byte_at, ended = exchange.started, exchange.first_byte_at, exchange.ended_at
        self._duration.observe(0.0 if ended is None else ended - started)
        if first_byte_at is not None:
            first_byte_s, upstream_s = first_byte_at - started, exchange.upstream_s
            self._first_byte.observe(first_byte_s)
            if upstream_s > 0 and exchange.attempts:
                self._overhead.observe(first_byte_s - upstream_s if first_byte_s > upstream_s else 0.0)
            if exchange.streaming:
                self._time_tokens(exchange)
        usage = exchange.usage
        if usage is not None:
            if exchange.cached:
                kept.count_cached(usage.total_tokens)
            else:
                kept.count_tokens(usage)
        cost_usd = exchange.cost_usd
        if cost_usd is not None and cost_usd >= 0:
            kept.count_cost(cost_usd)
        if exchange.route_reason is not None:
            for labels in exchange.route_choices:
                self._choices.of(*labels).value += 1
        for tag in exchange.tags:
            self._tag_requests.of(*tag).value += 1
            if cost_usd is not None and cost_usd > 0:
                self._tag_costs.of(*tag).value += cost_usd
        if exchange.cache_result is not None:
            self._cache.of(self._endpoints.of(exchange), exchange.cache_result).value += 1
        if exchange.turn is not None:
            outcome = exchange.outcome or _COMPLETE
            self._turns.of(self._endpoints.of(exchange), kept.model, outcome.value).value += 1
        if exchange.status != 200 or exchange.attempts != 1 or exchange.outcome is not _COMPLETE:
            self._count_trouble(exchange)

    def _keep(self, exchange: Exchange) -> _Kept:
        """Return the counters for exchanges like this one, and remember them while there are few kinds."""
        outcome = exchange.outcome or Outcome.COMPLETE
        model = self._models.label(exchange.model, admit=has_succeeded(exchange))
        status = NO_STATUS if exchange.status is None else str(exchange.status)
        endpoint = self._endpoints.of(exchange)
        key = exchange.key if self._key_labels else None
        key_label = (self._keys.label(key),) if self._key_labels else ()
        labels: tuple[str, ...] = endpoint, model, status, outcome.value, *key_label
        if labels not in self._requests and len(self._requests) >= MOST_SERIES:
            labels = OTHER, OTHER, status[:1] + "xx", outcome.value, *key_label
        kept = _Kept(self._requests.of(*labels), self._tokens, self._cost, model, key_label)
        self._labels_of.setdefault(labels[1], set()).add(labels)
        if OTHER not in (model, endpoint) and len(self._kept) < _KINDS_KEPT:
            # `other` is not remembered: strangers choose those names, and one may get a label of its own yet
            self._kept[(exchange.endpoint, exchange.model, exchange.status, exchange.outcome, key)] = kept
        return kept

    def _requests_by_model(self) -> dict[str, float]:
        return {
            model: sum(self._requests.of(*labels).value for labels in each)
            for model, each in self._labels_of.items()
        }

    def _move_to_other(self, model: str) -> None:
        """Count as `other` what a model counted whose label is given to another one."""
        keys = set()
        for labels in self._labels_of.pop(model, ()):
            endpoint, _, *rest = labels
            to = endpoint, OTHER, *rest
            self._requests.move(labels, to)
            self._labels_of.setdefault(OTHER, set()).add(to)
            keys.add(tuple(rest[2:]))
        for key in keys:
            for kind in _TOKEN_KINDS:
                self._tokens.move((model, kind, *key), (OTHER, kind, *key))
            self._cost.move((model, *key), (OTHER, *key))
        for labels in self._turns:
            if labels[1] == model:
                self._turns.move(labels, (labels[0], OTHER, labels[2]))
        self._kept = {kind: kept for kind, kept in self._kept.items() if kept.model != model}

    def _count_trouble(self, exchange: Exchange) -> None:
        if exchange.rate_limited is not None:
            self._limited.of(exchange.rate_limited).value += 1
        for labels in exchange.upstream_error_kinds:
            self._errors.of(*labels).value += 1
        for reason in exchange.retry_reasons:
            self._retries.of(reason).value += 1
        if exchange.outcome is Outcome.CLIENT_GONE:
            self._disconnects.value += 1

    def _time_tokens(self, exchange: Exchange) -> None:
        usage, first, ended = exchange.usage, exchange.response_first_body_at, exchange.ended_at
        if exchange.outcome is not _COMPLETE or usage is None or first is None or ended is None:
            return
        if usage.output_tokens > 1:
            self._per_token.observe((ended - first) / (usage.output_tokens - 1))

    def flush(self) -> None:
        """Keep little that is not in its bucket. Every exchange has a duration: nothing else waits longer."""
        if self._duration.waiting >= FOLD_AT:
            for each in (self._duration, self._first_byte, self._per_token, self._overhead):
                each.fold()

    def render(self, accept: bytes = b"") -> tuple[str, bytes]:
        """Return content type and body of the page, in the format that `Accept` asks for."""
        encode, content_type = choose_encoder(accept.decode("latin-1"))
        return content_type, encode(self.registry)


def find_metrics(observers: Iterable[Observer]) -> PrometheusObserver | None:
    """Return the observer that renders the metrics page."""
    return next((each for each in observers if isinstance(each, PrometheusObserver)), None)
