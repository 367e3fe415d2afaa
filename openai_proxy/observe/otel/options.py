"""The parameters of `otel:...`, checked while the observer is built.

Imported only by its factory. The SDK's own variables (OTEL_RESOURCE_ATTRIBUTES,
OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_CERTIFICATE, ...) mean what it documents.
"""

from __future__ import annotations

import os
import re
from functools import partial
from urllib.parse import unquote, urlsplit

from ...logs import logger
from ..interfaces import ObserverOptions
from .exporting import Exporting
from .observation import Observing
from .observer import OtelObserver

_DEFAULT_ENDPOINT = "http://localhost:4318"
_SIGNAL = re.compile(r"/v1/(?:traces|metrics)\Z")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")


def build(options: ObserverOptions) -> OtelObserver:
    """Return the observer; ValueError for bad parameters, ImportError without the extra."""
    try:
        # now, half a second that no client waits for; it starts no thread
        from .sdk import Destination, Pipeline
    except ImportError as error:
        raise ImportError(
            "OpenTelemetry's SDK is missing: pip install 'twisted-openai-proxy[otel]'"
        ) from error
    options.no_positional()
    given = options.parameters("endpoint", "service_name")
    if given.get("endpoint") == "":
        raise ValueError("endpoint is empty")
    endpoint = _endpoint(given.get("endpoint") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
    service_name = given.get("service_name") or None
    headers = parse_headers(options.context.otlp_headers)
    parts = urlsplit(endpoint)
    log = logger("openai_proxy.observe.otel")
    make = partial(Pipeline, Destination(endpoint, headers, service_name))
    exporting = Exporting(make, f"{parts.scheme}://{parts.netloc}", _metrics_every_s(), log)
    context = options.context
    observing = Observing(context.upstreams, context.configured_models)
    return OtelObserver(observing, exporting, context.reactor, log)


def _endpoint(text: str | None) -> str:
    """Return the collector's base URL; ValueError, without its text, for one that cannot be."""
    url = text or _DEFAULT_ENDPOINT
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or any(character.isspace() for character in url):
        raise ValueError("endpoint must be the http:// or https:// URL of an OTLP/HTTP collector")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "endpoint takes no user, query or fragment: put keys into OTEL_EXPORTER_OTLP_HEADERS"
        )
    return _SIGNAL.sub("", url.rstrip("/")).rstrip("/")


def parse_headers(text: str) -> dict[str, str]:
    """Read `name=value,name=value`, values percent-encoded; ValueError without any of it."""
    headers = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        name, equals, value = pair.partition("=")
        value = unquote(value.strip())
        if not equals or not _HEADER_NAME.match(name.strip()) or not value.isprintable():
            raise ValueError("OTEL_EXPORTER_OTLP_HEADERS is written name=value,name=value")
        headers[name.strip().lower()] = value
    return headers


def _metrics_every_s() -> float:
    """Return OTEL_METRIC_EXPORT_INTERVAL, the SDK's own variable, in seconds; a minute by default."""
    try:
        return max(0.1, float(os.environ["OTEL_METRIC_EXPORT_INTERVAL"]) / 1000)
    except (KeyError, ValueError):
        return 60.0
