"""Put this proxy's own key in place of whatever the client sent.

One of the three ways to authenticate; see `pass_through` and `tenants`.
"""

from __future__ import annotations

from collections.abc import Awaitable

from ..core.credentials import swap_credentials
from ..messages import Forward, ProxyRequest, ProxyResponse


class Inject:
    """Serve everybody with one upstream key; all callers share one limit and one cache."""

    CREDENTIAL_ID = "everyone"

    def __init__(self, api_key: bytes, auth_header: bytes = b"authorization") -> None:
        self._api_key = api_key
        self._auth_header = auth_header

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        request.exchange.credential_id = self.CREDENTIAL_ID
        request.headers = swap_credentials(request.headers, self._auth_header, self._api_key)
        request.credential = self._api_key
        return forward(request)
