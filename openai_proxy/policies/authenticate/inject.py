"""Put this proxy's own key in place of whatever the client sent.

One of the three ways to authenticate; see `pass_through` and `tenants`.
"""

from __future__ import annotations

from collections.abc import Awaitable

from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from .caller import Callers, credential_id
from .credentials import CredentialSwap


class Inject:
    """Send every request with one upstream key; all callers share one limit and one cache.

    `callers` may distinguish some of them by further headers.
    """

    CREDENTIAL_ID = "everyone"

    def __init__(
        self, api_key: bytes, auth_header: bytes = b"authorization", callers: Callers | None = None
    ) -> None:
        self._callers = callers or Callers()
        self._api_key = api_key
        self._swap = CredentialSwap(auth_header, api_key)

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        further = request.caller = self._callers.further(request.headers)
        request.exchange.credential_id = credential_id(further) if further else self.CREDENTIAL_ID
        request.headers = self._swap.on(request.headers)
        request.credential = self._api_key
        return forward(request)
