"""Make the request with which the stages see a turn of a WebSocket, and say why no turn may begin."""

from __future__ import annotations

import time
from typing import Any

from ..exchange.errors import Overloaded, ProxyError, ShuttingDown
from ..exchange.messages import ProxyRequest
from ..exchange.record import Exchange, HeaderPairs

_OLD = (
    "This WebSocket has been open for the longest time that openai-proxy allows (websocket.session_s): open a"
    " new one."
)


class TurnRequests:
    """Makes a request of each turn: path, headers, peer and key are those of the `handshake`.

    `headers` are those that the client sent with it. `endpoint` is `responses`
    or `realtime`, and `name` the endpoint's name in rules.
    """

    def __init__(
        self, handshake: Exchange, headers: HeaderPairs, endpoint: str, name: str, site: Any
    ) -> None:
        self._handshake = handshake
        self._headers = headers
        self._endpoint = endpoint
        self._name = name
        self._site = site
        self._number = 0

    def make_question(self, params: bytes) -> ProxyRequest:
        """Return a request with the members `params` (JSON) that is no turn, and that no observer sees."""
        site, handshake = self._site, self._handshake
        exchange = Exchange(site.clock(), time.time(), "WS", handshake.path)
        exchange.target = handshake.target
        exchange.endpoint = self._endpoint
        exchange.request_headers = handshake.request_headers
        exchange.peer = handshake.peer
        exchange.connection = handshake.id
        exchange.key, exchange.credential_id = handshake.key, handshake.credential_id
        exchange.streaming = True
        return ProxyRequest(
            b"POST", handshake.target, self._headers, params, exchange, buffered=True, endpoint=self._name
        )

    def make_turn(self, params: bytes) -> ProxyRequest:
        """Return the request of the next turn, with the members `params` (JSON)."""
        request = self.make_question(params)
        self._number += 1
        exchange = request.exchange
        exchange.turn = self._number
        if self._site.worker:
            exchange.worker = self._site.worker
        if self._site.capture is not None:
            exchange.capture = self._site.capture()
        return request


def why_none_may_begin(site: Any, *, session_is_over: bool) -> ProxyError | None:
    """Return the error for a turn that may not begin now; None if one may.

    `session_is_over`: its connection is about to be closed.
    """
    if site.draining:
        return ShuttingDown()
    if session_is_over:
        return ShuttingDown(_OLD)
    reason = site.refusal() if site.refusal is not None else None
    api = site.root.api
    if reason is None and api.in_flight_limit is not None and api.in_flight >= api.in_flight_limit:
        reason = f"openai-proxy has {api.in_flight} requests in flight, which is its limit (limits.in_flight); try again."
    return None if reason is None else Overloaded(reason)
