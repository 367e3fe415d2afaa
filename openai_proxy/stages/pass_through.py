"""Let the client's own credentials go upstream unchanged.

One of the three ways to authenticate; see `inject` and `tenants`.
"""

from __future__ import annotations

from collections.abc import Awaitable

from ..core.credentials import find_caller
from ..core.errors import MissingCredentials
from ..messages import Forward, ProxyRequest, ProxyResponse


class PassThrough:
    """Ask for credentials, judge none: the upstream does."""

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        caller = find_caller(request.headers)
        if caller is None:
            raise MissingCredentials
        request.credential, request.exchange.credential_id = caller
        return forward(request)
