"""An OTLP/HTTP collector on a real socket, which decodes what it gets.

Tests may tell it to hang or to refuse; `close` and a new one on the same
port are an outage.
"""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from world.waiting import PATIENCE_S


def value_of(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def attributes_of(holder: Any) -> dict[str, Any]:
    """Return the attributes of a span, a point or a resource as a dictionary."""
    return {each.key: value_of(each.value) for each in holder.attributes}


class Collector:
    """Listens on loopback until `close`."""

    def __init__(self, port: int = 0) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        """Path and decompressed body of each request."""
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.answering = threading.Event()
        """Cleared, requests are read and never answered."""
        self.answering.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.answering.wait(PATIENCE_S)
                if collector.status == 200:
                    # who sees the body finds its headers
                    collector.headers.append({name.lower(): text for name, text in self.headers.items()})
                    collector.bodies.append((self.path, body))
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: Any) -> None:
                pass  # the daemon was killed

        self._server = Server(("127.0.0.1", port), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def received(self) -> bytes:
        """Every byte of every body."""
        return b"".join(body for _, body in list(self.bodies))

    def _traces(self) -> list[ExportTraceServiceRequest]:
        return [
            ExportTraceServiceRequest.FromString(body)
            for path, body in list(self.bodies)
            if path == "/v1/traces"
        ]

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self._traces()
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def resources(self) -> list[dict[str, Any]]:
        return [attributes_of(each.resource) for request in self._traces() for each in request.resource_spans]

    @property
    def metrics(self) -> dict[str, Metric]:
        """The last state of each metric."""
        found = {}
        for path, body in list(self.bodies):
            if path == "/v1/metrics":
                for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for scope in resource.scope_metrics:
                        found.update({metric.name: metric for metric in scope.metrics})
        return found

    def points(self, name: str) -> list[HistogramDataPoint]:
        metric = self.metrics.get(name)
        return list(metric.histogram.data_points) if metric is not None else []

    def close(self) -> None:
        """Stop listening, and answer nobody any more. May be called twice."""
        self.status = 503
        self.answering.set()
        self._server.shutdown()
        self._server.server_close()
