"""The resource that is the API: from a request's head to the stages.

What can be refused by looking only at the head is refused here; the rest
is the stages' business.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from ..exchange.bodies import WholeBody
from ..exchange.errors import MethodNotAllowed, Overloaded, ProxyLoop, ShuttingDown, UnknownURL
from ..exchange.messages import Forward, ProxyRequest, ProxyResponse
from ..exchange.record import Exchange
from ..wire.request_json import begins_like_object
from ..wire.targets import ApiPath
from ..wire.web_origins import is_preflight
from .body import IncomingBody, as_incoming
from .browsers import judge, preflight_answer
from .contract import ApiRequest

LOOP_VIAS = 5
"""So often may this proxy's own name stand in Via: chains of proxies pass, loops do not."""


class ProxyResource(Resource):
    """Every path of the API, at every depth.

    `forward` is the composed stages, `preflight` the way upstream of a
    browser's question, which goes without credentials and stages. Both are
    replaced whole at a reload, so that running exchanges keep theirs.
    """

    isLeaf = True

    def __init__(
        self, forward: Forward, in_flight_limit: int | None, preflight: Forward | None = None
    ) -> None:
        super().__init__()
        self.forward = forward
        self.preflight = preflight or forward
        self.in_flight_limit = in_flight_limit
        self.running: dict[Exchange, ApiRequest] = {}
        """The admitted requests whose exchanges have not ended."""

    @property
    def in_flight(self) -> int:
        return len(self.running)

    def render(self, request: ApiRequest) -> int:
        """Start the stages, or raise the ProxyError that refuses the request. The root has set its `api_path`."""
        path = request.api_path
        method = request.method
        request.exchange.endpoint = path.endpoint
        request.exchange.target = path.target
        if method not in path.methods:
            raise MethodNotAllowed(path.methods)
        marks = judge(request) if request.site.web_origins.looks or method == b"OPTIONS" else None
        self._admit(request)
        asked = self._ask(request, path)
        forward = self.forward
        if marks is not None and is_preflight(method, marks):
            if request.readable and marks.origin is not None:
                forward = partial(preflight_answer, request, marks.origin, path.methods)
            else:
                forward = self.preflight
        request.undelivered = asked.undelivered
        request.run(forward, asked)
        return NOT_DONE_YET

    def _admit(self, request: ApiRequest) -> None:
        """Count the request among those in flight, or raise the ProxyError that refuses one more."""
        site = request.site
        if request.incoming.head.vias >= LOOP_VIAS:
            raise ProxyLoop
        if site.draining:
            raise ShuttingDown
        if self.in_flight_limit is not None and self.in_flight >= self.in_flight_limit:
            raise Overloaded(
                f"openai-proxy has {self.in_flight} requests in flight, which is its limit (limits.in_flight); try again."
            )
        if site.refusal is not None and (reason := site.refusal()) is not None:
            raise Overloaded(reason)
        self.running[request.exchange] = request
        request.admitted_by = self

    def _ask(self, request: ApiRequest, path: ApiPath) -> ProxyRequest:
        """Return what the stages are asked."""
        exchange = request.exchange
        incoming = request.incoming
        method, head = incoming.method, incoming.head
        if path.model is not None:
            exchange.model = path.model
        required = path.required if method == b"POST" and not head.encoded else ()
        has_body = head.chunked or bool(head.content_length)
        buffered = bool(required) or (has_body and (path.is_json or _is_json(head.content_type)))
        body: Any = incoming.body if has_body or head.content_length == 0 else None
        sniffed = has_body and not buffered and _may_be_json(head.content_type)
        if sniffed and type(body) is WholeBody:
            buffered, sniffed = head.encoded or begins_like_object(body.data[:64]), False
        if type(body) is WholeBody:
            body = body.data if buffered else as_incoming(body)
        if exchange.capture is not None and isinstance(body, IncomingBody):
            body.watch = None if buffered else exchange.capture.request.feed
        return ProxyRequest(
            method,
            path.target,
            head.forward,
            body,
            exchange,
            buffered,
            required,
            head.encoded,
            # A handshake has no body (RFC 6455 §4.1); with one, Upgrade is ignored (RFC 9110 §7.8).
            upgrade=head.upgrade == b"websocket" and method == b"GET" and not has_body,
            path_model=path.model,
            azure=path.azure,
            endpoint=path.named,
            sniffed=sniffed,
        )

    def left(self, request: ApiRequest) -> None:
        """Note that the exchange of an admitted request has ended."""
        del self.running[request.exchange]


_NO_JSON = (b"multipart/", b"audio/", b"image/", b"video/")


class NoAPI(ProxyResource):
    """Stands for the API if there is none: every path is unknown."""

    def __init__(self) -> None:
        super().__init__(_nowhere, None)

    def render(self, request: Any) -> int:
        raise UnknownURL


async def _nowhere(request: ProxyRequest) -> ProxyResponse:
    raise UnknownURL


def _may_be_json(content_type: bytes) -> bool:
    """Whether a body of this type may be JSON all the same: any but forms, sounds and pictures. The stages decide."""
    return not content_type.startswith(_NO_JSON)


def _is_json(content_type: bytes) -> bool:
    return content_type == b"application/json" or content_type.endswith(b"+json")
