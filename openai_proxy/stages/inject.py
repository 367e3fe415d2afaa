"""Put this proxy's own key in place of whatever the client sent.

One of the three ways to authenticate; see `pass_through` and `tenants`.
"""

from __future__ import annotations

from ..core.credentials import replace_credentials
from ..messages import Forward, ProxyRequest, ProxyResponse


class Inject:
    """Serve everybody with one upstream key; all callers share one limit and one cache."""

    CREDENTIAL_ID = "everyone"

    def __init__(self, api_key: bytes, auth_header: bytes = b"authorization") -> None:
        self._api_key = api_key
        self._auth_header = auth_header

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        request.exchange.credential_id = self.CREDENTIAL_ID
        headers = replace_credentials(request.headers, self._auth_header, self._api_key)
        return await forward(request.evolve(headers=headers, credential=self._api_key))
