"""Let the client's own credentials go upstream unchanged.

One of the three ways to authenticate; see `inject` and `tenants`.
"""

from __future__ import annotations

from ..core.credentials import credential_id, find_credential
from ..core.errors import MissingCredentials
from ..messages import Forward, ProxyRequest, ProxyResponse


class PassThrough:
    """Ask for credentials, judge none: the upstream does."""

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        credential = find_credential(request.headers)
        if credential is None:
            raise MissingCredentials
        request.exchange.credential_id = credential_id(credential)
        return await forward(request.evolve(credential=credential))
