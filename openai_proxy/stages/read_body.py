"""Read a JSON body whole, and check what the contract says is checked.

Placed behind authentication (nobody unknown makes us read) and before the
limits (a request refused here counts against none).
"""

from __future__ import annotations

from typing import Any

from ..core.documents import maybe_object, parse_object, require
from ..core.errors import RequestTooLarge
from ..messages import Forward, ProxyRequest, ProxyResponse


class ReadBody:
    """Buffer JSON up to a limit; other bodies pass by, still arriving."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        if not request.buffered:
            return await forward(request)
        arriving = request.body
        data = b""
        headers = request.headers
        if isinstance(arriving, bytes):
            data = arriving
            if len(data) > self._limit_bytes:
                raise RequestTooLarge
        elif arriving is not None:
            data = await arriving.read(self._limit_bytes)
            if not isinstance(arriving.length, int):
                # It came chunked and goes up counted: the framing is this hop's own.
                headers = [*headers, (b"Content-Length", b"%d" % len(data))]
        document = self._look(request, data)
        body = data if arriving is not None else None
        return await forward(request.evolve(body=body, headers=headers, document=document))

    @staticmethod
    def _look(request: ProxyRequest, data: bytes) -> dict[str, Any] | None:
        exchange = request.exchange
        exchange.request_body = data
        exchange.request_bytes = len(data)
        if request.encoded:
            return None
        if request.required:
            document = parse_object(data)
            require(document, request.required)
        else:
            maybe = maybe_object(data)
            if maybe is None:
                return None
            document = maybe
        model = document.get("model")
        if isinstance(model, str):
            exchange.model = model
        exchange.streaming = document.get("stream") is True
        return document
