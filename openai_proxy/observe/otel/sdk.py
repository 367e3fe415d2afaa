"""OpenTelemetry's SDK, assembled: observations in, OTLP over HTTP out.

The only module that imports the SDK. Everything here runs on the thread of
`exporting`, may block, and starts no thread of its own.
"""

from __future__ import annotations

import logging
import math
import sys
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import requests
from attrs import field, frozen
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ... import __version__
from . import conventions
from .observation import Observation

_SERVICE = "openai-proxy"
_SWITCH_S = 0.0005
_CONTINUE = TraceContextTextMapPropagator()


@frozen
class Destination:
    """Where to send, and as whom."""

    endpoint: str
    """Base URL of the collector, without a trailing slash."""
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    service_name: str | None = None
    """None leaves it to OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, else `openai-proxy`."""


class _Session(requests.Session):
    """Remembers why the last request to the collector failed; None if it did not."""

    failure: str | None = None

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        try:
            response = super().request(*args, **kwargs)
        except Exception as error:
            self.failure = type(error).__name__
            raise
        self.failure = None if response.ok else f"status {response.status_code}"
        return response


class _Ended(SpanProcessor):
    """Keeps the sampled spans until they are taken."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        spans, self._spans = self._spans, []
        return spans


class Pipeline:
    """Turns observations into spans and points, and sends both.

    A span is sampled as its parent was; one without a parent as
    OTEL_TRACES_SAMPLER says, by default always.
    """

    def __init__(self, to: Destination) -> None:
        _silence()
        # By default a thread that computes keeps the reactor waiting for 5 ms after each of its system calls.
        sys.setswitchinterval(_SWITCH_S)
        self._session = _Session()
        headers = dict(to.headers)
        self._spans = OTLPSpanExporter(to.endpoint + "/v1/traces", headers=headers, session=self._session)
        metrics = OTLPMetricExporter(to.endpoint + "/v1/metrics", headers=headers, session=self._session)
        # never by itself: its own thread would be a second one to end
        self._reader = PeriodicExportingMetricReader(metrics, export_interval_millis=math.inf)
        resource = _resource(to.service_name)
        self._ended = _Ended()
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracers.add_span_processor(self._ended)
        self._tracer = tracers.get_tracer("openai_proxy", __version__)
        self._meters = MeterProvider([self._reader], resource=resource, shutdown_on_exit=False)
        meter = self._meters.get_meter("openai_proxy", __version__)
        self._histograms = {
            name: meter.create_histogram(
                name, unit, description, explicit_bucket_boundaries_advisory=boundaries
            )
            for name, (unit, description, boundaries) in conventions.HISTOGRAMS.items()
        }

    def send(self, batch: Iterable[Observation]) -> str | None:
        """Record a batch and send its spans; return why they could not be sent, or None."""
        for observation in batch:
            self._record(observation)
        spans = self._ended.take()
        if not spans:
            return None
        try:
            self._spans.export(spans)
        except Exception as error:  # exporters before 1.35 let the second failure through
            return self._session.failure or type(error).__name__
        return self._session.failure

    def _record(self, observation: Observation) -> None:
        parent = Context()
        if observation.parent is not None:
            parent = _CONTINUE.extract(observation.parent, parent)
        span = self._tracer.start_span(
            observation.name,
            parent,
            # the proxy calls the model, and is its caller's own span's child: the conventions' CLIENT
            SpanKind.CLIENT,
            observation.attributes,
            start_time=observation.start_ns,
        )
        if observation.error_type is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(observation.end_ns)
        for name, value, attributes in observation.points:
            self._histograms[name].record(value, attributes, Context())

    def send_metrics(self) -> str | None:
        """Send the metrics as they stand; return why they could not be sent, or None."""
        self._session.failure = None
        self._reader.collect()
        return self._session.failure

    def close(self) -> None:
        """Close the connections."""
        self._spans.shutdown()
        self._session.close()


def _resource(service_name: str | None) -> Resource:
    named = {} if service_name is None else {"service.name": service_name}
    own = Resource.create({"service.version": __version__, "service.instance.id": str(uuid.uuid4()), **named})
    if str(own.attributes.get("service.name", "unknown_service")).startswith("unknown_service"):
        own = own.merge(Resource({"service.name": _SERVICE}))
    return own


def _silence() -> None:
    """Keep the SDK's log to itself: it repeats every failure, with what the collector answered."""
    log = logging.getLogger("opentelemetry")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())
