"""Send each request to what its upstream is: a server, or something made here."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from ..exchange.messages import Forward, ProxyRequest, ProxyResponse


class ForwardByName:
    """The innermost `forward` if some upstream is no server.

    `made` are those by name; all others are `servers`, which may be None if
    there are none. `default` names the upstream of requests without a route.
    """

    def __init__(self, made: Mapping[str, Forward], servers: Forward | None, default: str) -> None:
        self._made = made
        self._servers = servers
        self._default = default

    def __call__(self, request: ProxyRequest) -> Awaitable[ProxyResponse]:
        name = self._default if request.route is None else request.route.name
        forward = self._made.get(name, self._servers)
        assert forward is not None, f"the upstream {name} is neither made nor a server"
        return forward(request)
