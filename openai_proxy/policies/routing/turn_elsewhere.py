"""Refuse turns of a WebSocket for a model that another upstream serves.

A WebSocket leads to one upstream, chosen when it was opened.
"""

from __future__ import annotations

from collections.abc import Awaitable

from ...exchange.errors import ModelElsewhere
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from .table import RoutingTable


class RefuseElsewhere:
    """Raise ModelElsewhere where the configuration sends a turn's model elsewhere."""

    def __init__(self, table: RoutingTable) -> None:
        self._table = table

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        model = request.model
        route = self._table.find(model) if model is not None else None
        if route is not None and route.upstream is not None and request.turn is not None:
            here = request.turn.upstream
            if route.upstream != here:
                raise ModelElsewhere(
                    f"openai-proxy has this model at the upstream {route.upstream!r}, and this WebSocket leads to"
                    f" {here!r}: open another one for it.",
                    param="model",
                )
        return forward(request)
