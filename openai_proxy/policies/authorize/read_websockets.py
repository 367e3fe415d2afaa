"""Decide which WebSockets have their turns read, and which are refused.

Decides by the head of a handshake. A WebSocket that is read gets no extensions,
because compression cannot be decoded here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Literal

from ...exchange.access_errors import WebSocketNotAllowed, WebSocketNotRead
from ...exchange.messages import Forward, Kind, ProxyRequest, ProxyResponse
from ...exchange.record import Inspection
from ...wire.headers import without

ENDPOINTS = frozenset(("responses", "realtime", "live"))
"""The endpoints that run models over WebSockets whose turns can be read."""
_EXTENSIONS = b"sec-websocket-extensions"
_OFF = (
    "openai-proxy does not open WebSockets of /responses (websocket.responses is off): send the same request by"
    " HTTP (POST)."
)


class ReadWebSockets:
    """Mark the handshakes whose turns are to be read.

    `rules` says by `credential_id` which rule of a key needs that, in words
    such as "a budget"; `everybodys` is the rule of all keys that are not in
    `free`. `inspect`: with `never`, keys with a rule are refused, and nothing
    is read; with `always`, all turns are read; with `auto`, those of keys with
    a rule, and all of them if `reads_all`. With `opens_responses` off, no
    `/responses` is opened for anybody.
    """

    def __init__(
        self,
        rules: Mapping[str, str],
        everybodys: str | None,
        free: frozenset[str],
        *,
        inspect: Literal["auto", "always", "never"],
        limited: frozenset[str],
        reads_all: bool,
        opens_responses: bool,
    ) -> None:
        self._rules = dict(rules)
        self._everybodys = everybodys
        self._free = free
        self._never = inspect == "never"
        self._limited = limited
        """Keys with limits that count turns; their WebSockets may pass unread."""
        self._reads_all = reads_all or inspect == "always"
        self._opens_responses = opens_responses

    def concerns(self, kind: Kind) -> bool:
        return kind.upgrade and kind.named.partition("/")[0] in ENDPOINTS

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        if not request.upgrade or request.endpoint.partition("/")[0] not in ENDPOINTS:
            return forward(request)
        if not self._opens_responses and request.endpoint.partition("/")[0] == "responses":
            raise WebSocketNotAllowed(_OFF)
        key = request.exchange.credential_id
        rule = self._rules.get(key) or (None if key in self._free else self._everybodys)
        if self._never:
            if rule is not None:
                raise WebSocketNotRead(
                    "openai-proxy does not open a WebSocket for this API key, because it may not read its messages"
                    f" (websocket.inspect is never), and the key has {rule}: send the same request by HTTP (POST)."
                )
            return forward(request)
        if rule is None and not self._reads_all and key not in self._limited:
            return forward(request)
        return self._read(request, forward, rule is not None)

    async def _read(self, request: ProxyRequest, forward: Forward, is_strict: bool) -> ProxyResponse:
        request.exchange.inspection = Inspection(is_strict, request.endpoint)
        request.headers = without(request.headers, _EXTENSIONS)
        response = await forward(request)
        if response.status != 101:
            return response
        return response.evolve(headers=without(response.headers, _EXTENSIONS))
