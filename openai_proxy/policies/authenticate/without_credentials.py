"""Send a browser's preflight upstream without any credentials.

Innermost, so that it also removes what the routing has put in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from ...wire.headers import without
from .credentials import CREDENTIAL_HEADERS


class WithoutCredentials:
    """Forward requests without anybody's credentials.

    `auth_headers`: names, in lower case, of the headers that carry the keys
    of the upstreams.
    """

    def __init__(self, auth_headers: Iterable[bytes]) -> None:
        self._names = (*CREDENTIAL_HEADERS, *auth_headers, b"cookie", b"sec-websocket-protocol")

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        return forward(request.evolve(headers=without(request.headers, *self._names), credential=b""))
