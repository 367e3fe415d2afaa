"""Read a JSON body whole, and check what the contract says is checked.

Placed behind authentication (nobody unknown makes us read) and before the
limits (a request refused here counts against none).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

from ..core.documents import maybe_object, ordinary_object, parse_object, require
from ..core.errors import RequestTooLarge
from ..core.paths import models_of_query
from ..messages import Forward, ProxyRequest, ProxyResponse, RequestBody


class ReadBody:
    """Buffer JSON up to a limit; other bodies pass by, still arriving."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        if not request.buffered:
            if request.body is not None:
                arriving = cast(RequestBody, request.body)
                if arriving.length == 0:
                    request.body = b""  # announced as none, as SDKs do: it may be sent more than once
                else:
                    # before anything is opened, spent or sent for it; the client may wait for a 100
                    arriving.check_announced()
            if request.upgrade:
                # a tunnel says in its target what others say in their body
                models = models_of_query(request.target.partition(b"?")[2])
                request.exchange.model = request.path_model or (models[0] if models else None)
            return forward(request)
        body = request.body
        if body is None or type(body) is bytes:
            data = body or b""
            if len(data) > self._limit_bytes:
                raise RequestTooLarge
            request.document = self._look(request, data)
            return forward(request)
        return self._read(request, cast(RequestBody, body), forward)

    async def _read(self, request: ProxyRequest, arriving: RequestBody, forward: Forward) -> ProxyResponse:
        data = await arriving.read(self._limit_bytes)
        if not isinstance(arriving.length, int):
            # It came chunked and goes up counted: the framing is this hop's own.
            request.headers = [*request.headers, (b"Content-Length", b"%d" % len(data))]
        request.body = data
        request.document = self._look(request, data)
        return await forward(request)

    @staticmethod
    def _look(request: ProxyRequest, data: bytes) -> dict[str, Any] | None:
        exchange = request.exchange
        exchange.request_body = data
        exchange.request_bytes = len(data)
        if request.encoded:
            return None
        document = ordinary_object(data)
        exchange.request_is_ordinary = document is not None
        if document is None:
            document = parse_object(data) if request.required else maybe_object(data)
            if document is None:
                return None
        if request.required:
            require(document, request.required)
        request.document = document
        exchange.model = request.model
        exchange.streaming = document.get("stream") is True
        return document
