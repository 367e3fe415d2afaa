"""Refuse what would go on where no rule of a key can see it.

Decides by the head of a request: a WebSocket of `/responses`, whose frames
name any model, and ephemeral keys and sessions, whose traffic goes past
this proxy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from ...exchange.errors import NotMeasured, WebSocketNotAllowed
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from .named_models import makes_session

_OFF = (
    "openai-proxy does not open WebSockets of /responses (websocket.responses is off): send the same request by"
    " HTTP (POST)."
)


class RefuseUnseen:
    """Raise WebSocketNotAllowed or NotMeasured for callers that have a rule.

    `rules` says which rule by `credential_id`, in words such as "a budget";
    `everybodys` is the rule of all that are not in `free`. With `websockets`
    off, no `/responses` is opened for anybody; `websocket_rules` are rules
    that only a WebSocket would pass by.
    """

    def __init__(
        self,
        rules: Mapping[str, str],
        everybodys: str | None,
        free: frozenset[str],
        websockets: bool,
        websocket_rules: Mapping[str, str] | None = None,
    ) -> None:
        self._websocket_rules = dict(websocket_rules or {})
        self._rules = dict(rules)
        self._everybodys = everybodys
        self._free = free
        self._websockets = websockets

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        if request.upgrade:
            if request.endpoint.partition("/")[0] == "responses":
                self._check_websocket(request)
        elif request.method == b"POST" and makes_session(request.method, request.endpoint):
            rule = self._rule(request)
            if rule is not None:
                raise NotMeasured(
                    "openai-proxy cannot see what a session or an ephemeral key is used for, and this API key has"
                    f" {rule}."
                )
        return forward(request)

    def _rule(self, request: ProxyRequest) -> str | None:
        key = request.exchange.credential_id
        return self._rules.get(key) or (None if key in self._free else self._everybodys)

    def _check_websocket(self, request: ProxyRequest) -> None:
        if not self._websockets:
            raise WebSocketNotAllowed(_OFF)
        rule = self._rule(request) or self._websocket_rules.get(request.exchange.credential_id)
        if rule is not None:
            raise WebSocketNotAllowed(
                "openai-proxy does not open a WebSocket of /responses for this API key, for it cannot read what"
                f" goes through it, and the key has {rule}: send the same request by HTTP (POST)."
            )
