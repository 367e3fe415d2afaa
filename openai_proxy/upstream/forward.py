"""The innermost `forward`: from a ProxyRequest to the wire and back.

Adds what a proxy must (Via, framing of its own hop), nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from twisted.web.iweb import UNKNOWN_LENGTH

from ..exchange.bodies import WholeBody
from ..exchange.errors import UpstreamError
from ..exchange.messages import ProxyRequest, ProxyResponse
from ..net.origin import ClientCertificate, Origin, base_path, parse_origin
from ..wire.headers import end_to_end
from ..wire.render import header_lines
from ..wire.upstream_lines import UpstreamLines, UpstreamQuery
from .client import UpstreamClient


@frozen
class Destination:
    """An upstream as the wire knows it."""

    name: str
    origin: Origin
    path: bytes
    """Base path, without trailing slash."""
    azure_path: bytes
    """The same for what is asked for in Azure's form: `/openai` of `/openai/v1`, beside its `/v1`."""
    via: bytes
    """The Via line with its CRLF, empty for none."""
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
    path = base_path(base_url)
    azure_path = path[: -len(b"/v1")] if path.endswith(b"/openai/v1") else path
    via = f"Via: 1.1 {pseudonym}\r\n".encode("ascii") if pseudonym else b""
    origin = parse_origin(base_url).identified_by(certificate)
    return Destination(name, origin, path, azure_path, via, lines or None, query or None)


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
        lines = header_lines(headers) + to.via
        if request.upgrade:
            lines += b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        elif type(body) is not bytes and body is not None and body.length is UNKNOWN_LENGTH:  # type: ignore[union-attr]
            lines += b"Transfer-Encoding: chunked\r\n"
        response = await self._send(request, to, target, lines, fresh=False)
        pairs, received = response.pairs, response.body
        headers = pairs if response.code == 101 else end_to_end(pairs)
        if type(received) is not WholeBody:
            request.undelivered.append(received)
        return ProxyResponse(response.code, response.phrase, headers, received)

    async def _send(
        self, request: ProxyRequest, to: Destination, target: bytes, lines: bytes, fresh: bool
    ) -> Any:
        """Return the response; a kept connection that turns out dead is replaced by a fresh one.

        That is no fault of an upstream, which never saw the request.
        """
        exchange, body = request.exchange, request.body
        exchange.attempts += 1
        started = self._clock()
        try:
            return await self._client.send(
                request.method,
                to.origin,
                (to.azure_path if request.azure else to.path) + target,
                lines,
                body,
                request.credential,
                request.upgrade,
                started,
                fresh,
                exchange.credential_id,
            )
        except UpstreamError as error:
            exchange.upstream_error_kinds.append((to.name, error.kind))
            if error.sent != "stale" or not _is_still_whole(body):
                raise
        finally:
            exchange.upstream_s += self._clock() - started
        exchange.retry_reasons.append("stale")
        return await self._send(request, to, target, lines, fresh=True)


def _is_still_whole(body: Any) -> bool:
    """Whether all of a request's body can be sent once more."""
    return body is None or type(body) is bytes or body.rewind()
