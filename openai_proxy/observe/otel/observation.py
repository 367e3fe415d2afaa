"""What is reported of one exchange: a span's and the metrics' values. Pure.

No header but the trace's own, no body, no query and no path of a client
passes through here: the endpoint stands for the path.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from urllib.parse import urlsplit

from attrs import define, field

from ...exchange.bounded_memo import short_memo
from ...exchange.outcome import Outcome
from ...exchange.record import Exchange
from ..lines.record import shown
from ..metrics.labels import BoundedLabels, EndpointLabels, has_succeeded
from . import conventions
from .trace_parent import trace_headers

Attributes = dict[str, str | bool | int | float]


@define
class Observation:
    """One exchange, ready to become a span and points of metrics on another thread."""

    name: str
    start_ns: int
    end_ns: int
    attributes: Attributes
    error_type: str | None
    parent: dict[str, str] | None
    """The trace's headers as the client sent them."""
    points: list[tuple[str, float, Attributes]] = field(factory=list)
    """Metric, value, attributes."""


@short_memo(64)
def _server(url: str) -> tuple[Attributes, str]:
    """Return an upstream's address as attributes, and the provider's name."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host:  # no server: nothing has an address
        return {}, conventions.OPENAI
    address: Attributes = {
        "server.address": host,
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
    }
    return address, conventions.provider_of(host)


_WHOLE = (Outcome.COMPLETE, Outcome.REJOINED, Outcome.FINISHED_ALONE)


def error_type(exchange: Exchange) -> str | None:
    """Return `error.type`: our error's code, the upstream's status, or how it broke off; None if it did not."""
    if exchange.error_code is not None:
        return exchange.error_code
    if exchange.outcome is not None and exchange.outcome not in _WHOLE:
        return str(exchange.outcome.value)
    if exchange.status is not None and exchange.status >= 400:
        return str(exchange.status)
    return None


class Observing:
    """Makes Observations; owns the bounded names of models in metrics, and of endpoints everywhere.

    `upstreams` returns the base URL of each upstream by its name, as
    configured now.
    """

    def __init__(
        self,
        upstreams: Callable[[], Mapping[str, str]],
        configured_models: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._upstreams = upstreams
        self._models = BoundedLabels(configured=configured_models)
        self._endpoints = EndpointLabels()

    def observe(self, exchange: Exchange) -> Observation:
        """Return what is reported of an ended exchange. Keeps no reference to it."""
        endpoint = self._endpoints.of(exchange)
        method = exchange.method if exchange.method in conventions.METHODS else conventions.OTHER_METHOD
        operation = conventions.OPERATIONS.get(endpoint) if method == "POST" else None
        failure = error_type(exchange)
        attributes: Attributes = {
            "http.request.method": method,
            "url.template": "/" + endpoint,
            "openai_proxy.exchange.id": exchange.id,
        }
        server, provider = self._server_of(exchange)
        attributes.update(server)
        _tell_transport(exchange, attributes, failure)
        start_ns = int(exchange.timestamp * 1e9)
        observation = Observation(
            name=f"{'HTTP' if method == conventions.OTHER_METHOD else method} /{endpoint}",
            start_ns=start_ns,
            end_ns=start_ns + int(exchange.duration_s * 1e9),
            attributes=attributes,
            error_type=failure,
            parent=trace_headers(exchange.request_headers),
        )
        if operation is not None:
            common: Attributes = {"gen_ai.operation.name": operation, "gen_ai.provider.name": provider}
            model = shown(exchange.model) if exchange.model else None
            observation.name = operation if model is None else f"{operation} {model}"
            attributes.update(common)
            _tell_generation(exchange, attributes, endpoint, model)
            if exchange.model:
                common["gen_ai.request.model"] = self._models.label(
                    exchange.model, admit=has_succeeded(exchange)
                )
            observation.points = _points(exchange, {**common, **server}, failure)
        return observation

    def _server_of(self, exchange: Exchange) -> tuple[Attributes, str]:
        upstreams = self._upstreams()
        url = upstreams.get(exchange.upstream) if exchange.upstream is not None else None
        if url is not None:
            return _server(url)
        # never sent: nobody's address, and the provider that it was meant for
        meant = next(iter(upstreams.values()), None)
        return {}, conventions.OPENAI if meant is None else _server(meant)[1]


def _tell_transport(exchange: Exchange, attributes: Attributes, failure: str | None) -> None:
    if exchange.status is not None:
        attributes["http.response.status_code"] = exchange.status
    if exchange.attempts > 1:
        attributes["http.request.resend_count"] = exchange.attempts - 1
    if failure is not None:
        attributes["error.type"] = failure
    if exchange.outcome is not None:
        attributes["openai_proxy.outcome"] = exchange.outcome.value
    if exchange.key is not None:
        attributes["openai_proxy.key"] = shown(exchange.key)
    if exchange.cached:
        attributes["openai_proxy.cached"] = True
    if exchange.cost_usd is not None:
        attributes["openai_proxy.cost_usd"] = exchange.cost_usd


def _first_s(exchange: Exchange) -> float | None:
    """Return seconds until the first of the answer: its body if that time is known, otherwise its head."""
    first = exchange.response_first_body_at
    return exchange.first_byte_s if first is None else first - exchange.started


def _tell_generation(exchange: Exchange, attributes: Attributes, endpoint: str, model: str | None) -> None:
    if model is not None:
        attributes["gen_ai.request.model"] = model
    api_type = conventions.API_TYPES.get(endpoint)
    if api_type is not None:
        attributes["openai.api.type"] = api_type
    answered_by = _response_model(exchange)
    if answered_by is not None:
        attributes["gen_ai.response.model"] = answered_by
    if exchange.streaming:
        attributes["gen_ai.request.stream"] = True
        first_s = _first_s(exchange)
        if first_s is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = first_s
    usage = exchange.usage
    if usage is None:
        return
    attributes["gen_ai.usage.input_tokens"] = usage.input_tokens
    attributes["gen_ai.usage.output_tokens"] = usage.output_tokens
    if usage.cached_tokens > 0:
        attributes["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
    if usage.reasoning_tokens > 0:
        attributes["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
    if usage.estimated:
        attributes["openai_proxy.usage.estimated"] = True


def _response_model(exchange: Exchange) -> str | None:
    for name, value in exchange.response_headers or ():
        if len(name) == 12 and name.lower() == b"openai-model":
            return shown(value.decode("latin-1"))
    return None


def _points(
    exchange: Exchange, common: Attributes, failure: str | None
) -> list[tuple[str, float, Attributes]]:
    """Return the points of the metrics; an estimate or a hit of the cache is no usage of tokens."""
    timed = common if failure is None else {**common, "error.type": failure}
    points = [(conventions.DURATION, exchange.duration_s, timed)]
    usage = exchange.usage
    if usage is not None and not usage.estimated and not exchange.cached:
        given = {**common, "gen_ai.token.type": "input"}
        points.append((conventions.TOKEN_USAGE, max(0, usage.input_tokens), given))
        if usage.output_tokens > 0:
            made = {**common, "gen_ai.token.type": "output"}
            points.append((conventions.TOKEN_USAGE, usage.output_tokens, made))
    first_s = _first_s(exchange)
    if exchange.streaming and failure is None and first_s is not None and not exchange.cached:
        points.append((conventions.TIME_TO_FIRST_TOKEN, first_s, common))
        if usage is not None and not usage.estimated and usage.output_tokens > 1:
            rest_s = max(0.0, exchange.duration_s - first_s)
            points.append((conventions.TIME_PER_OUTPUT_TOKEN, rest_s / (usage.output_tokens - 1), common))
    return points
