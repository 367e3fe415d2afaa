"""The innermost `forward`: from a ProxyRequest to the wire and back.

Adds what a proxy must (Via, framing of its own hop), nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen
from twisted.web.iweb import UNKNOWN_LENGTH

from ..exchange.bodies import WholeBody
from ..exchange.messages import ProxyRequest, ProxyResponse
from ..exchange.record import HeaderPairs
from ..exchange.upstream_errors import UpstreamError
from ..net.origin import ClientCertificate, Origin, base_path, parse_origin
from ..wire.upstream_lines import UpstreamLines, UpstreamQuery
from .client import UpstreamClient
from .request_headers import RequestHeaders

_UPGRADE = ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))
_CHUNKED = ((b"Transfer-Encoding", b"chunked"),)


@frozen
class Destination:
    """An upstream as the wire knows it."""

    name: str
    origin: Origin
    url: bytes
    """Base URL, without trailing slash."""
    azure_url: bytes
    """The same for what is asked for in Azure's form: `/openai` of `/openai/v1`, beside its `/v1`."""
    via: HeaderPairs = field(repr=False)
    """The Via line, none for an empty pseudonym."""
    lines: UpstreamLines | None = None
    query: UpstreamQuery | None = None


def destination(
    name: str,
    base_url: str,
    pseudonym: str = "",
    certificate: ClientCertificate | None = None,
    lines: UpstreamLines | None = None,
    query: UpstreamQuery | None = None,
) -> Destination:
    """Make a Destination of a validated base URL; an empty `pseudonym` leaves Via out."""
    origin = parse_origin(base_url).identified_by(certificate)
    url = str(origin).encode("ascii") + base_path(base_url)
    azure_url = url[: -len(b"/v1")] if url.endswith(b"/openai/v1") else url
    via = [(b"Via", f"1.1 {pseudonym}".encode("ascii"))] if pseudonym else []
    return Destination(name, origin, url, azure_url, via, lines or None, query or None)


class UpstreamForward:
    """Send a request to the destination its route names, or to the default one."""

    def __init__(
        self,
        client: UpstreamClient,
        default: Destination,
        routes: Mapping[str, Destination],
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._default = default
        self._routes = routes
        self._clock = clock

    async def __call__(self, request: ProxyRequest) -> ProxyResponse:
        exchange = request.exchange
        to = self._default if request.route is None else self._routes[request.route.name]
        exchange.upstream = to.name
        body = request.body
        headers = request.headers if to.lines is None else to.lines.on(request.headers)
        target = request.target if to.query is None else to.query.on(request.target)
        pairs = [*headers, *to.via]
        if request.upgrade:
            pairs += _UPGRADE
        elif type(body) is not bytes and body is not None and body.length is UNKNOWN_LENGTH:  # type: ignore[union-attr]
            pairs += _CHUNKED
        url = (to.azure_url if request.azure else to.url) + target
        fresh = False
        response = None
        while response is None:
            exchange.attempts += 1
            started = self._clock()
            lines = RequestHeaders(
                pairs, request.credential, request.upgrade, exchange.credential_id, to.origin, fresh, started
            )
            try:
                response = await self._client.request(request.method, url, headers=lines, data=body)
            except UpstreamError as error:
                exchange.upstream_error_kinds.append((to.name, error.kind))
                if error.sent != "stale" or not _is_still_whole(body):
                    raise
                # No fault of an upstream, which never saw the request: once more, on a connection of its own.
                exchange.retry_reasons.append("stale")
                fresh = True
            finally:
                exchange.upstream_s += self._clock() - started
                if lines.connect_s:
                    exchange.connect_s += lines.connect_s
        received = response.body
        if type(received) is not WholeBody:
            request.undelivered.append(received)
        return ProxyResponse(response.code, response.phrase, response.pairs, received)


def _is_still_whole(body: Any) -> bool:
    """Whether all of a request's body can be sent once more."""
    return body is None or type(body) is bytes or body.rewind()
